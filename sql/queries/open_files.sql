-- files of unfinished batches, with what they are read by: a run is working on them, or was killed
select
    batch_file.sha256,
    batch_file.mapping_sha256,
    min(batch.batch_id) as batch_id
from raw.batch_file
inner join raw.batch on batch_file.batch_id = batch.batch_id
where
    batch.status = 'landed'
    and batch_file.sha256 = any(%(sha256)s)
group by
    batch_file.sha256,
    batch_file.mapping_sha256
