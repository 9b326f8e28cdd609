select
    snapshot_id,
    url
from ml.snapshot
where
    cutoff = %(cutoff)s
    and sha256 = %(sha256)s
