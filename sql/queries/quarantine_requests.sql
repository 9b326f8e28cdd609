-- Decisions about lines in quarantine, the newest first, each with up to 10 of its lines.
select
    request_id,
    action,
    changes,
    by_workbook,
    actor,
    reason,
    asked_at,
    state,
    batch_id,
    error,
    ended_at,
    cardinality(quarantine_ids) as lines,
    quarantine_ids[1:10] as first_lines
from raw.quarantine_request
where
    request_id < %(before)s
    and (%(request_id)s::bigint is null or request_id = %(request_id)s)
    and (%(line)s::bigint is null or quarantine_ids @> array[%(line)s::bigint])
order by request_id desc
limit %(most)s
