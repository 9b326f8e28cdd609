update ops.incident
set
    told_at = coalesce(told_at, now()),
    recovery_told_at = case when closed_at is not null then now() end
where incident_id = %(incident_id)s;
