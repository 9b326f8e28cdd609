insert into ops.incident (kind, key, severity, lasts, title, body, since)
values (%(kind)s, %(key)s, %(severity)s, %(lasts)s, %(title)s, %(body)s, %(since)s)
on conflict (kind, key) where closed_at is null
do update
    set
        last_seen_at = now(),
        times = incident.times + 1
returning *;
