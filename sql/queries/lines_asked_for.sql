-- An open request about one of these lines, if there is one.
select
    request_id,
    actor,
    asked_at,
    quarantine_ids
from raw.quarantine_request
where
    state in ('waiting', 'running')
    and quarantine_ids && %(quarantine_ids)s::bigint[]
order by request_id asc
limit 1
