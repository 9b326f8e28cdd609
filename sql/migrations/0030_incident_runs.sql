-- Which runs of Airflow an incident is about, so that a run that ended red is told once, by whatever is still alive.
-- Without an incident: the run failed because of what a person entered, and that person was told.
create table ops.incident_run (
    dag_id text not null,
    run_id text not null,
    incident_id bigint references ops.incident,
    noted_at timestamptz not null default now(),
    constraint one_row_for_each_incident_of_a_run unique nulls not distinct (dag_id, run_id, incident_id)
);

create index incident_run_incident_id on ops.incident_run (incident_id);

-- When the watcher of Airflow last looked, so that something else can tell that nobody watches.
create table ops.watch (
    name text primary key,
    -- Runs that ended before are not told.
    began_at timestamptz not null default now(),
    looked_at timestamptz not null default now()
);
