update retail.rule_preview
set
    state = %(state)s,
    error = null,
    saved_as = %(saved_as)s,
    ended_at = now()
where
    preview_id = %(preview_id)s
    and state not in ('saved', 'dropped')
