insert into ml.exposure_check (
    experiment,
    checked_at,
    publication,
    of_group,
    checked,
    shown_right,
    shown_wrong,
    shown_nothing
)
values (
    %(experiment)s,
    %(checked_at)s,
    %(publication)s,
    %(of_group)s,
    %(checked)s,
    %(shown_right)s,
    %(shown_wrong)s,
    %(shown_nothing)s
)
on conflict do nothing
