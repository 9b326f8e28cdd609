-- each mapping of a name that read a file of the batch
select distinct
    used_mapping.yaml,
    used_mapping.sha256
from raw.batch_file
inner join raw.used_mapping on batch_file.mapping_sha256 = used_mapping.sha256
where
    batch_file.batch_id = %(batch_id)s
    and batch_file.mapping = %(name)s
order by used_mapping.sha256 asc
