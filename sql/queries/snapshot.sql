select
    cutoff,
    sha256,
    url
from ml.snapshot
where snapshot_id = %(snapshot_id)s
