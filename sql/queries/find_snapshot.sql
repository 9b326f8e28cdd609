-- It is in use from now on, so pruning leaves it alone.
update ml.snapshot
set
    used_at = now(),
    pruned_at = null
where
    cutoff = %(cutoff)s
    and sha256 = %(sha256)s
returning
    snapshot_id,
    url
