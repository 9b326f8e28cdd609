insert into ml.experiment (
    name,
    hypothesis,
    kind,
    challenger,
    list_order,
    share,
    salt,
    minimum_effect,
    power,
    metric,
    decides,
    harm_bound,
    ends_on_harm,
    starts_at,
    ends_at,
    also,
    started_by
)
values (
    %(called)s,
    %(hypothesis)s,
    %(kind)s,
    %(challenger)s,
    %(list_order)s,
    %(share)s,
    %(salt)s,
    %(minimum_effect)s,
    %(power)s,
    %(metric)s,
    %(decides)s,
    %(harm_bound)s,
    %(ends_on_harm)s,
    %(starts_at)s,
    %(ends_at)s,
    %(also)s,
    %(by)s
)
on conflict do nothing
returning experiment
