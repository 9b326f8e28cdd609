-- Only since the experiment's first lists: before that, nobody could see them.
select
    of_group as "group",
    count(*) as checks,
    sum(checked)::bigint as checked,
    sum(shown_right)::bigint as "right",
    sum(shown_wrong)::bigint as wrong,
    sum(shown_nothing)::bigint as missing
from ml.exposure_check
where
    experiment = %(experiment)s
    and checked_at >= (
        select min(publication.published_at)
        from ml.publication
        where
            publication.experiment = %(experiment)s
            and publication.state = 'published'
    )
group by of_group
order by of_group asc
