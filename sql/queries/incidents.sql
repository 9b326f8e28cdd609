select
    incident.*,
    coalesce(told.runs, '{}') as runs
from ops.incident
left join lateral (
    select array_agg(incident_run.dag_id || '/' || incident_run.run_id order by incident_run.noted_at) as runs
    from ops.incident_run
    where incident_run.incident_id = incident.incident_id
) as told on true
where
    %(over_too)s
    or (incident.lasts and incident.closed_at is null)
order by incident.incident_id desc
limit %(most)s;
