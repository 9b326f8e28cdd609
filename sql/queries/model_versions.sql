-- The versions, newest first: all, or one, or the one that serves, or those before one.
select
    version,
    recommender,
    state,
    snapshot_id,
    cutoff,
    holdout_start,
    config,
    requested_by,
    url,
    created_at,
    promoted_at,
    parent,
    code,
    retired_at,
    withdrawn_at,
    pruned_at
from ml.model_version
where
    (%(version)s::bigint is null or version = %(version)s)
    and (%(before)s::bigint is null or version < %(before)s)
    and (not %(serves)s or state = 'champion')
order by version desc
limit %(most)s
