select ml.open_version(
    %(run_key)s, %(snapshot_id)s, %(cutoff)s, %(holdout_start)s, %(config)s, %(requested_by)s, %(code)s
) as version
