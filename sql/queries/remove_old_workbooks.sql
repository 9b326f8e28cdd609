update raw.quarantine_request
set workbook = null
where
    workbook is not null
    and state = 'failed'
    and ended_at < now() - interval '1 day'
