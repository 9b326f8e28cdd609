-- The open incident that says that this run ended red.
select
    incident.kind,
    incident.key
from ops.incident
inner join ops.incident_run on incident.incident_id = incident_run.incident_id
where
    incident_run.dag_id = %(dag_id)s
    and incident_run.run_id = %(run_id)s
    and incident.closed_at is null
    and incident.kind = any(%(kinds)s)
order by incident.incident_id
limit 1;
