select
    pg_locks.pid,
    pg_stat_activity.application_name,
    coalesce(pg_stat_activity.xact_start, pg_stat_activity.backend_start) as since
from pg_locks
left join pg_stat_activity on pg_locks.pid = pg_stat_activity.pid
where
    pg_locks.locktype = 'advisory'
    and pg_locks.granted
    and pg_locks.classid = 0
    and pg_locks.objid = %(lock)s
    and pg_locks.database = (select oid from pg_database where datname = current_database())
order by since nulls last, pg_locks.pid
