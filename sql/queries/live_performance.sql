select
    publication.version,
    live_period.number,
    live_performance.bought_from,
    live_performance.bought_until,
    live_performance.question,
    live_performance.recommender,
    live_performance.k,
    live_performance.customers,
    live_performance.without_list,
    live_performance.newcomers,
    live_performance.precision_at_k,
    live_performance.precision_low,
    live_performance.precision_high,
    live_performance.ahead,
    live_performance.ahead_low,
    live_performance.ahead_high,
    live_performance.recall_at_k,
    live_performance.ndcg_at_10
from ml.live_performance
inner join ml.live_period on live_performance.period = live_period.period
inner join ml.publication on live_period.number = publication.number
where %(version)s::bigint is null or publication.version = %(version)s
order by
    live_performance.period asc,
    live_performance.bought_from asc,
    live_performance.question desc,
    live_performance.place asc
