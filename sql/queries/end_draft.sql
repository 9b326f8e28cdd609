-- Only of the last publication does anybody ask what its lists depended on.
with earlier as (
    update ml.draft
    set basis = null
    where
        %(state)s = 'published'
        and state = 'published'
        and basis is not null
)

update ml.draft
set
    state = %(state)s,
    publication = %(publication)s,
    basis = case when %(state)s = 'published' then basis end,
    ended_at = now()
where
    draft_id = %(draft_id)s
    and state = 'open'
