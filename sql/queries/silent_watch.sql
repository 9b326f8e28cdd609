-- Since when the watcher of Airflow has not looked, if there was one and it is silent.
select watch.looked_at
from ops.watch
where
    watch.name = 'airflow'
    and watch.looked_at < now() - make_interval(secs => %(seconds)s);
