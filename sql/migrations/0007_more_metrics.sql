-- More of each recommender's lists; null in evaluations from before.
alter table ml.evaluation
add column map_at_10 double precision,
-- share of the holdout's spending that went to recommended products, 0 to 1
add column revenue_at_k double precision,
-- mean self-information of recommended products, bits
add column novelty double precision;
