-- How the lists performed in the last windows between two retrains, oldest first, and which version made them.
select
    report.bought_from,
    report.bought_until,
    report.figures,
    publication.number,
    publication.version
from (
    select
        period,
        bought_from,
        bought_until,
        figures
    from ml.drift_report
    order by bought_until desc
    limit %(count)s
) as report
inner join ml.live_period on report.period = live_period.period
inner join ml.publication on live_period.number = publication.number
order by report.bought_until asc
