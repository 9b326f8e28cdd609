-- Products by code, or by words of their description in any order; whose code begins with the text come first.
select
    described_product.stock_code,
    described_product.description
from retail.described_product
where
    starts_with(described_product.stock_code, %(code)s)
    or (
        cardinality(%(words)s::text[]) > 0
        and described_product.description ilike all(%(words)s)
    )
order by
    described_product.stock_code = %(code)s desc,
    starts_with(described_product.stock_code, %(code)s) desc,
    described_product.description asc,
    described_product.stock_code asc
limit %(most)s
