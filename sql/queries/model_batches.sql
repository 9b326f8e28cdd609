select snapshot.batches
from ml.model_version
inner join ml.snapshot on snapshot.snapshot_id = substr(model_version.snapshot_id, 2)::bigint
where model_version.version = %(version)s
