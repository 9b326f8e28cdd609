update ml.snapshot
set report = %(report)s
where snapshot_id = %(snapshot_id)s
