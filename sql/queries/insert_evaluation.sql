insert into ml.evaluation (
    version,
    recommender,
    question,
    k,
    customers,
    precision_at_k,
    recall_at_k,
    ndcg_at_10,
    catalog_coverage
)
values (
    %(version)s,
    %(recommender)s,
    %(question)s,
    %(k)s,
    %(customers)s,
    %(precision_at_k)s,
    %(recall_at_k)s,
    %(ndcg_at_10)s,
    %(catalog_coverage)s
)
