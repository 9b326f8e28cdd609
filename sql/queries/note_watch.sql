insert into ops.watch (name)
values ('airflow')
on conflict (name) do update
    set looked_at = now()
returning began_at;
