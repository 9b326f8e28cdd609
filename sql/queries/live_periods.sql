-- The periods, newest first: all, or those of a version, or the newest that answered anything. A period answers until
-- the first instant at which any later one took over. If that was before it began to answer, it answers nothing:
-- answers_until is answers_from. Read from the newest on, so that whoever asks for some reads no more.
with ends as (
    select
        *,
        min(coalesce(took_over_at, answers_from)) over (
            order by period desc rows between unbounded preceding and 1 preceding
        ) as taken_over_at
    from ml.live_period
)

select
    ends.period,
    ends.number,
    publication.version,
    publication.as_of,
    publication.url,
    ends.began_by,
    ends.began_at,
    ends.ended_at,
    ends.answers_from,
    publication.experiment,
    ends.clock,
    case
        when ends.taken_over_at is not null then greatest(ends.taken_over_at, ends.answers_from)
    end as answers_until
from ends
inner join ml.publication on ends.number = publication.number
where
    (%(version)s::bigint is null or publication.version = %(version)s)
    and (
        not %(answering)s
        or ends.taken_over_at is null
        or ends.taken_over_at > ends.answers_from
    )
order by ends.period desc
limit %(most)s
