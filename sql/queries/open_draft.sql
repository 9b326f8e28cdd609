insert into ml.draft (
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
    url
)
values (
    %(version)s,
    %(snapshot_id)s,
    %(as_of)s,
    %(top_n)s,
    %(shards)s,
    %(basis)s,
    %(after)s,
    %(erased_sha256)s,
    %(since)s,
    %(refreshed)s,
    %(url)s
)
returning draft_id
