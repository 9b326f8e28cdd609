select ml.open_version(
    %(run_key)s::text,
    %(snapshot_id)s::text,
    %(cutoff)s::timestamp,
    %(holdout_start)s::timestamp,
    %(config)s::jsonb,
    %(requested_by)s::text,
    %(code)s::jsonb
) as version
