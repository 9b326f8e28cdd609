update ml.experiment
set
    state = 'ended',
    ended_by = %(by)s,
    ended_why = %(why)s,
    ended_at = now(),
    stopped_at = %(stopped_at)s
where
    experiment = %(experiment)s
    and state = 'running'
returning experiment
