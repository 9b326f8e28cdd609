-- Candidates of the last retrains up to one of them, for each question, beside the best baseline of their holdout.
with recent as (
    select distinct version
    from ml.evaluation
    where
        recommender = 'candidate'
        and version <= %(version)s
    order by version desc
    limit %(count)s
),

best as (
    select
        version,
        question,
        max(precision_at_k) as precision_at_k
    from ml.evaluation
    where
        cohort = 'everyone'
        and recommender not in ('candidate', 'incumbent')
    group by
        version,
        question
)

select
    candidate.version,
    model.cutoff,
    candidate.question,
    candidate.k,
    candidate.precision_at_k,
    candidate.precision_low,
    candidate.precision_high,
    best.precision_at_k as best_baseline,
    model.promoted_at is not null as served
from ml.evaluation as candidate
inner join ml.model_version as model on candidate.version = model.version
left join best
    on
        candidate.version = best.version
        and candidate.question = best.question
where
    candidate.recommender = 'candidate'
    and candidate.cohort = 'everyone'
    and candidate.version in (select recent.version from recent)
order by
    candidate.version asc,
    candidate.place asc
