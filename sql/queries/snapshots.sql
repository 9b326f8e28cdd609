select
    snapshot_id,
    url,
    pruned_at
from ml.snapshot
order by snapshot_id asc
