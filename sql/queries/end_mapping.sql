update raw.mapping
set
    ended_at = now(),
    ended_by = %(ended_by)s
where
    name = %(name)s
    and ended_at is null
