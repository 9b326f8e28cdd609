-- Its lists are made from a newer snapshot.
update ml.model_version
set
    snapshot_id = %(snapshot_id)s,
    cutoff = %(cutoff)s,
    holdout_start = %(cutoff)s,
    code = %(code)s
where version = 0
