select
    draft_id,
    version,
    snapshot_id,
    as_of,
    top_n,
    shards,
    basis,
    after,
    erased_sha256,
    since,
    refreshed,
    url,
    state
from ml.draft
where draft_id = %(draft_id)s
