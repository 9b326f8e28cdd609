-- How long each of the last lists was live, in hours; until now if they still are. Oldest first.
select
    period.number,
    publication.version,
    period.began_at,
    extract(epoch from coalesce(period.ended_at, now()) - period.began_at)::double precision / 3600 as hours
from (
    select
        period,
        number,
        began_at,
        ended_at
    from ml.live_period
    order by period desc
    limit %(count)s
) as period
inner join ml.publication on period.number = publication.number
order by period.period asc
