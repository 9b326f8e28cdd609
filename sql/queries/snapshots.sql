select
    snapshot_id,
    url
from ml.snapshot
order by snapshot_id asc
