update ml.model_version
set
    state = 'champion',
    promoted_at = coalesce(promoted_at, now()),
    retired_at = null,
    withdrawn_at = null
where version = %(version)s
