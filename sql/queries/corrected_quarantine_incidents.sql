-- Batches with an open alert, of which no line waits in quarantine any more.
select incident.key
from ops.incident
where
    incident.kind = %(kind)s
    and incident.closed_at is null
    and not exists (
        select
        from raw.quarantined_line
        where
            quarantined_line.batch_id = substring(incident.key from '[0-9]+')::bigint
            and quarantined_line.state = 'waiting'
    );
