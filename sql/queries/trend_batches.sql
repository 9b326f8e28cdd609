-- What became of the lines that were read on each of the last days with a batch, oldest first.
select
    (created_at at time zone 'UTC')::date as day,
    sum(lines_read)::bigint as lines_read,
    sum(lines_quarantined)::bigint as lines_quarantined,
    max(batch_id) filter (where validated_at is not null) as batch_id
from raw.batch
where
    status <> 'rejected'
    and same_as is null
group by (created_at at time zone 'UTC')::date
order by day desc
limit %(count)s
