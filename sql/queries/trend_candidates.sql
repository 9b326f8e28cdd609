-- The candidates of the last retrains on their own holdouts, oldest first, with the run that trained each.
with recent as (
    select distinct version
    from ml.evaluation
    where recommender = 'candidate'
    order by version desc
    limit %(count)s
)

select
    evaluation.version,
    evaluation.question,
    evaluation.k,
    evaluation.precision_at_k,
    evaluation.precision_low,
    evaluation.precision_high,
    evaluation.catalog_coverage,
    model_version.cutoff,
    model_version.created_at,
    model_version.run_key
from ml.evaluation
inner join recent on evaluation.version = recent.version
inner join ml.model_version on evaluation.version = model_version.version
where
    evaluation.recommender = 'candidate'
    and evaluation.cohort = 'everyone'
order by
    evaluation.version asc,
    evaluation.place asc
