-- Words of descriptions that begin with one of these letters: among them may be what somebody meant.
select word
from retail.described_product
cross join lateral regexp_split_to_table(lower(described_product.description), '\s+') as word
where
    left(word, 1) = any(%(letters)s)
    and length(word) > 2
group by word
order by
    count(*) desc,
    word asc
limit %(most)s
