-- A second try with the same run key continues the version that the first try opened. Its parent stays the champion of
-- the time when the run began.
insert into ml.model_version (
    run_key,
    snapshot_id,
    cutoff,
    holdout_start,
    config,
    requested_by,
    code,
    parent
)
select
    %(run_key)s,
    %(snapshot_id)s,
    %(cutoff)s,
    %(holdout_start)s,
    %(config)s,
    %(requested_by)s,
    %(code)s,
    (select champion.version from ml.model_version as champion where champion.state = 'champion') as parent
on conflict (run_key) do update
    set
        snapshot_id = excluded.snapshot_id,
        cutoff = excluded.cutoff,
        holdout_start = excluded.holdout_start,
        config = excluded.config,
        requested_by = excluded.requested_by,
        code = excluded.code,
        pruned_at = null
returning version
