-- A champion that people go back from is withdrawn: no later candidate has to be as good as it.
update ml.model_version
set
    state = 'retired',
    retired_at = now(),
    withdrawn_at = case when version > %(version)s then now() end
where
    state = 'champion'
    and version <> %(version)s
