-- The drift reports, those of the newest windows first: all, or some.
select
    snapshot_id,
    period,
    bought_from,
    bought_until,
    figures,
    findings
from ml.drift_report
order by bought_until desc
limit %(most)s
