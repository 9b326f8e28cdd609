select
    recommender,
    question,
    k,
    customers,
    precision_at_k,
    recall_at_k,
    ndcg_at_10,
    catalog_coverage
from ml.evaluation
where version = %(version)s
order by
    question desc,
    precision_at_k desc,
    recommender asc
