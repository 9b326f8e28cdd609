-- The publication that is live, where its lists are, and how many customers have one.
select
    publication.number,
    publication.version,
    publication.url,
    publication.customers
from ml.live_period
inner join ml.publication on live_period.number = publication.number
where live_period.ended_at is null
