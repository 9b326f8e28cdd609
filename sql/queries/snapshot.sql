select
    cutoff,
    sha256,
    url,
    batches,
    lines,
    customers,
    pruned_at
from ml.snapshot
where snapshot_id = %(snapshot_id)s
