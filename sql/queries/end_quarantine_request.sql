-- A failed request keeps its workbook: the task may be tried again.
update raw.quarantine_request
set
    state = %(state)s,
    batch_id = %(batch_id)s,
    error = %(error)s,
    ended_at = now(),
    workbook = case when %(state)s = 'failed' then workbook end
where
    request_id = %(request_id)s
    and state in ('waiting', 'running', 'failed')
returning request_id
