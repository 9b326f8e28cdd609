-- How many lines the batches in the snapshots of some versions brought.
select
    model_version.version,
    sum(batch.lines_merged)::bigint as lines
from ml.model_version
inner join ml.snapshot on snapshot.snapshot_id = substr(model_version.snapshot_id, 2)::bigint
inner join raw.batch on batch.batch_id = any(snapshot.batches)
where model_version.version = any(%(versions)s)
group by model_version.version
order by model_version.version asc
