select
    live_period.period,
    live_period.number,
    publication.version,
    publication.as_of,
    publication.url,
    live_period.began_by,
    live_period.began_at,
    live_period.ended_at,
    live_period.answers_from,
    publication.experiment,
    lead(live_period.answers_from) over (order by live_period.period asc) as answers_until
from ml.live_period
inner join ml.publication on live_period.number = publication.number
order by live_period.period asc
