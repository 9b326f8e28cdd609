-- Asking again with the same run key continues the version that the first try opened.
insert into ml.model_version (
    run_key,
    snapshot_id,
    cutoff,
    holdout_start,
    config,
    requested_by
)
values (
    %(run_key)s,
    %(snapshot_id)s,
    %(cutoff)s,
    %(holdout_start)s,
    %(config)s,
    %(requested_by)s
)
on conflict (run_key) do update
    set
        snapshot_id = excluded.snapshot_id,
        cutoff = excluded.cutoff,
        holdout_start = excluded.holdout_start,
        config = excluded.config,
        requested_by = excluded.requested_by
returning version
