-- What waits in quarantine, by reason, with the newest example.
select distinct on (reason)
    reason,
    original as example,
    sum(events) over (partition by reason)::bigint as events,
    max(quarantined_at) over (partition by reason) as newest
from raw.quarantined_event
order by
    reason asc,
    quarantined_event_id desc
