select
    cutoff,
    sha256,
    url,
    batches,
    pruned_at
from ml.snapshot
where snapshot_id = %(snapshot_id)s
