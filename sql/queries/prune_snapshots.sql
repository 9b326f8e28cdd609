update ml.snapshot
set pruned_at = now()
where
    pruned_at is null
    and used_at < %(unused_since)s
    and snapshot_id <> all(%(keep)s::bigint[])
returning
    snapshot_id,
    url
