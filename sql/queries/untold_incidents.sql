-- What nobody could be told when it happened. What was over before anybody heard of it is told no more.
select *
from ops.incident
where
    (closed_at is null and told_at is null)
    or (closed_at is not null and told_at is not null and recovery_told_at is null)
order by incident_id
for update skip locked;
