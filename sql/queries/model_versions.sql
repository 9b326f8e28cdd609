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
order by version desc
