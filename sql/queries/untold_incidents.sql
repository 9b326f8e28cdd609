-- Incidents whose message could not be sent yet. One that ended before its first message needs none.
select *
from ops.incident
where
    (closed_at is null and told_at is null)
    or (closed_at is not null and told_at is not null and recovery_told_at is null)
order by incident_id
for update skip locked;
