-- Which of these lines do not wait, and who settled them.
select
    asked.quarantine_id,
    quarantined_line.state,
    quarantined_line.note,
    quarantined_line.resolved_by,
    quarantined_line.resolved_at,
    (
        select quarantine_request.actor
        from raw.quarantine_request
        where
            quarantine_request.quarantine_ids @> array[asked.quarantine_id]
            and quarantine_request.state = 'done'
        order by quarantine_request.request_id desc
        limit 1
    ) as actor
from unnest(%(quarantine_ids)s::bigint[]) as asked (quarantine_id)
left join raw.quarantined_line on asked.quarantine_id = quarantined_line.quarantine_id
where quarantined_line.state is distinct from 'waiting'
order by asked.quarantine_id asc
limit 5
