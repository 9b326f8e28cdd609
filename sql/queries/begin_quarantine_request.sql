update raw.quarantine_request
set
    state = 'running',
    error = null,
    ended_at = null
from (
    select
        request_id,
        state
    from raw.quarantine_request
    where request_id = %(request_id)s
    for update
) as earlier
where
    quarantine_request.request_id = earlier.request_id
    and quarantine_request.action = 'release'
    and earlier.state in ('waiting', 'running', 'failed')
returning
    quarantine_request.quarantine_ids,
    quarantine_request.changes,
    quarantine_request.by_workbook,
    quarantine_request.workbook,
    quarantine_request.asked_at,
    earlier.state = 'running' as begun_before
