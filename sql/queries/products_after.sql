-- Products by code, or by words of their description in any order; those after a code, in the order of codes.
select
    described_product.stock_code,
    described_product.description
from retail.described_product
where
    described_product.stock_code > %(after)s
    and (
        starts_with(described_product.stock_code, %(code)s)
        or (
            cardinality(%(words)s::text[]) > 0
            and described_product.description ilike all(%(words)s)
        )
    )
order by described_product.stock_code
limit %(most)s
