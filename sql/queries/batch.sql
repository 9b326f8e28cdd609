select
    batch.*,
    (
        select jsonb_agg(jsonb_build_object('name', refused.source, 'reason', refused.reason) order by refused.batch_id)
        from raw.batch as refused
        where refused.offered_with = batch.batch_id
    ) as rejected_files,
    (
        select array_agg(batch_file.location order by batch_file.file_number)
        from raw.batch_file
        where batch_file.batch_id = batch.batch_id
    ) as locations,
    (
        select
            jsonb_agg(
                jsonb_build_object(
                    'name', batch_file.name, 'mapping', batch_file.mapping, 'sha256', batch_file.mapping_sha256
                )
                order by batch_file.file_number
            )
        from raw.batch_file
        where
            batch_file.batch_id = batch.batch_id
            and batch_file.mapping is not null
    ) as mapped_files
from raw.batch
where batch.batch_id = %(batch_id)s
