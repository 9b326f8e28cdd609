update retail.rule_preview
set
    state = 'ready',
    result = %(result)s,
    ended_at = now()
where
    preview_id = %(preview_id)s
    and state = 'running'
