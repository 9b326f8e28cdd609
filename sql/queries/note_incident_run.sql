insert into ops.incident_run (dag_id, run_id, incident_id)
values (%(dag_id)s, %(run_id)s, %(incident_id)s)
on conflict on constraint one_row_for_each_incident_of_a_run do update
    set noted_at = now();
