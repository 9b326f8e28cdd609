select
    checked_at,
    publication,
    of_group as "group",
    checked,
    shown_right as "right",
    shown_wrong as wrong,
    shown_nothing as missing
from ml.exposure_check
where
    experiment = %(experiment)s
    and checked_at = (
        select max(newest.checked_at)
        from ml.exposure_check as newest
        where newest.experiment = %(experiment)s
    )
order by of_group asc
