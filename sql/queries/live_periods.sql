-- A period answers until the first instant at which any later one took over. If that was before it began to answer, it
-- answers nothing: answers_until is answers_from.
with ends as (
    select
        period,
        answers_from,
        min(coalesce(took_over_at, answers_from)) over (
            order by period asc rows between 1 following and unbounded following
        ) as taken_over_at
    from ml.live_period
),

answered as (
    select
        period,
        case when taken_over_at is not null then greatest(taken_over_at, answers_from) end as answers_until
    from ends
)

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
    answered.answers_until,
    live_period.clock
from ml.live_period
inner join ml.publication on live_period.number = publication.number
inner join answered on live_period.period = answered.period
order by live_period.period asc
