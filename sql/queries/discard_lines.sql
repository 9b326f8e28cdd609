update raw.quarantined_line
set
    state = 'discarded',
    resolved_at = now(),
    note = %(note)s
where
    state = 'waiting'
    and quarantine_id = any(%(quarantine_ids)s)
returning quarantine_id
