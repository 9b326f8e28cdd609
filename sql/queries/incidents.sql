select
    incident.*,
    array(
        select incident_run.dag_id || '/' || incident_run.run_id
        from ops.incident_run
        where incident_run.incident_id = incident.incident_id
        order by incident_run.noted_at, incident_run.run_id
    ) as runs
from ops.incident
where
    %(over_too)s
    or (incident.lasts and incident.closed_at is null)
order by incident.incident_id desc
limit %(most)s;
