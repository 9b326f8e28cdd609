update ops.incident
set closed_at = now()
where
    kind = %(kind)s
    and key = coalesce(%(key)s, key)
    and lasts
    and closed_at is null
returning *;
