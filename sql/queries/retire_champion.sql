-- If an older version takes its place, the champion is withdrawn: later candidates are not compared with it.
update ml.model_version
set
    state = 'retired',
    retired_at = now(),
    withdrawn_at = case when version > %(version)s then now() end
where
    state = 'champion'
    and version <> %(version)s
