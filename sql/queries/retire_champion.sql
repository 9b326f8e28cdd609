update ml.model_version
set
    state = 'retired',
    retired_at = now()
where
    state = 'champion'
    and version <> %(version)s
