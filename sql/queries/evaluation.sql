select
    recommender,
    question,
    cohort,
    k,
    customers,
    precision_at_k,
    precision_low,
    precision_high,
    ahead,
    ahead_low,
    ahead_high,
    recall_at_k,
    ndcg_at_10,
    catalog_coverage,
    full_lists,
    overlap,
    map_at_10,
    revenue_at_k,
    novelty
from ml.evaluation
where version = %(version)s
order by place asc
