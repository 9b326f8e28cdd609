-- How many lines wait, for each batch and rule: of the newest batches with waiting lines before one.
with recursive batch_with_lines as (
    (
        select
            batch_id,
            1 as place
        from raw.quarantined_line
        where
            state = 'waiting'
            and batch_id < %(before)s
        order by batch_id desc
        limit 1
    )
    union all
    select
        (
            select quarantined_line.batch_id
            from raw.quarantined_line
            where
                quarantined_line.state = 'waiting'
                and quarantined_line.batch_id < batch_with_lines.batch_id
            order by quarantined_line.batch_id desc
            limit 1
        ) as batch_id,
        batch_with_lines.place + 1 as place
    from batch_with_lines
    where
        batch_with_lines.batch_id is not null
        and batch_with_lines.place < %(most)s
)

select
    batch.batch_id,
    batch.source,
    batch.created_at,
    rule_id,
    count(*) as lines
from batch_with_lines
inner join raw.batch on batch_with_lines.batch_id = batch.batch_id
inner join raw.quarantined_line
    on
        batch_with_lines.batch_id = quarantined_line.batch_id
        and quarantined_line.state = 'waiting'
cross join lateral unnest(quarantined_line.rule_ids) as rule_id
group by
    batch.batch_id,
    rule_id
order by
    batch.batch_id desc,
    rule_id asc
