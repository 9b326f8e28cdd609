update retail.rule_preview
set
    state = 'failed',
    error = %(error)s,
    ended_at = now()
where
    preview_id = %(preview_id)s
    and state = 'running'
