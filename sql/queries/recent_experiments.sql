-- The last experiments, newest first, each with the sentence of its newest report.
select
    experiment.name,
    experiment.hypothesis,
    experiment.kind,
    experiment.challenger,
    experiment.list_order,
    experiment.share,
    experiment.starts_at,
    experiment.state,
    report.sentence
from ml.experiment
left join lateral (
    select experiment_report.sentence
    from ml.experiment_report
    where experiment_report.experiment = experiment.experiment
    order by experiment_report.until desc
    limit 1
) as report on true
order by experiment.experiment desc
limit %(count)s
