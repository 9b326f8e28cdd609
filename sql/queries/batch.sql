select
    batch.*,
    (
        select jsonb_agg(jsonb_build_object('name', refused.source, 'reason', refused.reason) order by refused.batch_id)
        from raw.batch as refused
        where refused.offered_with = batch.batch_id
    ) as rejected_files
from raw.batch
where batch.batch_id = %(batch_id)s
