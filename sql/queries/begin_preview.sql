update retail.rule_preview
set
    state = 'running',
    error = null,
    ended_at = null
where
    preview_id = %(preview_id)s
    and state in ('waiting', 'running', 'failed')
returning preview_id
