update ml.draft
set
    state = %(state)s,
    publication = %(publication)s,
    basis = null,
    ended_at = now()
where
    draft_id = %(draft_id)s
    and state = 'open'
