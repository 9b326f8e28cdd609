-- Of runs that ended red, those that neither on-call nor the person who started them was told of.
-- A run that was cleared and failed again counts again, if its incident was over before it ended.
select
    failed.dag_id,
    failed.run_id
from
    unnest(%(dag_ids)s::text[], %(run_ids)s::text[], %(started)s::timestamptz[], %(ended)s::timestamptz[])
        as failed (dag_id, run_id, started_at, ended_at)
where not exists (
    select
    from ops.incident_run
    left join ops.incident on incident_run.incident_id = incident.incident_id
    where
        incident_run.dag_id = failed.dag_id
        and incident_run.run_id = failed.run_id
        and case
            when incident_run.incident_id is null then incident_run.noted_at >= failed.started_at
            else
                incident.kind = any(%(kinds)s)
                and (incident.closed_at is null or incident.closed_at >= failed.ended_at)
        end
);
