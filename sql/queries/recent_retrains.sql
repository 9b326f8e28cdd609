-- The candidates of the last retrains (up to a version, if one is given), for each question, beside the best baseline
-- and the incumbent on the same holdout.
with recent as (
    select
        model_version.version,
        model_version.cutoff,
        model_version.promoted_at
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
    where %(version)s::bigint is null or model_version.version <= %(version)s
    order by model_version.version desc
    limit %(count)s
),

best as (
    select distinct on (evaluation.version, evaluation.question)
        evaluation.version,
        evaluation.question,
        evaluation.recommender,
        evaluation.precision_at_k,
        evaluation.precision_low,
        evaluation.precision_high
    from ml.evaluation
    inner join recent on evaluation.version = recent.version
    where
        evaluation.cohort = 'everyone'
        and evaluation.recommender not in ('candidate', 'incumbent', 'best_recent', 'network_alone', 'plain')
    order by
        evaluation.version asc,
        evaluation.question asc,
        evaluation.precision_at_k desc,
        evaluation.place asc
)

select
    candidate.version,
    recent.cutoff,
    candidate.question,
    candidate.k,
    candidate.customers,
    candidate.precision_at_k,
    candidate.precision_low,
    candidate.precision_high,
    best.recommender as baseline,
    best.precision_at_k as best_baseline,
    best.precision_low as baseline_low,
    best.precision_high as baseline_high,
    incumbent.precision_at_k as incumbent,
    incumbent.precision_low as incumbent_low,
    incumbent.precision_high as incumbent_high,
    gate_decision.promote as may_serve,
    recent.promoted_at is not null as served
from ml.evaluation as candidate
inner join recent on candidate.version = recent.version
left join best
    on
        candidate.version = best.version
        and candidate.question = best.question
left join ml.evaluation as incumbent
    on
        candidate.version = incumbent.version
        and candidate.question = incumbent.question
        and candidate.cohort = incumbent.cohort
        and incumbent.recommender = 'incumbent'
left join ml.gate_decision on candidate.version = gate_decision.version
where
    candidate.recommender = 'candidate'
    and candidate.cohort = 'everyone'
order by
    candidate.version asc,
    candidate.place asc
