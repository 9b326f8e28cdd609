-- The candidates of the last retrains on their own holdouts, oldest first, with the run that trained each.
with recent as (
    select
        model_version.version,
        model_version.cutoff,
        model_version.created_at,
        model_version.run_key
    from ml.model_version
    -- one version after the other, from the newest on
    inner join lateral (
        select evaluation.place
        from ml.evaluation
        where
            evaluation.version = model_version.version
            and evaluation.recommender = 'candidate'
        order by evaluation.place asc
        limit 1
    ) as evaluated on true
    order by model_version.version desc
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
    recent.cutoff,
    recent.created_at,
    recent.run_key
from ml.evaluation
inner join recent on evaluation.version = recent.version
where
    evaluation.recommender = 'candidate'
    and evaluation.cohort = 'everyone'
order by
    evaluation.version asc,
    evaluation.place asc
