-- Products by code, or by words of their description in any order; whose code begins with the text come first.
select
    product.stock_code,
    product.description
from retail.product
where
    starts_with(product.stock_code, %(code)s)
    or (
        cardinality(%(words)s::text[]) > 0
        and product.description ilike all(%(words)s)
    )
order by
    product.stock_code = %(code)s desc,
    starts_with(product.stock_code, %(code)s) desc,
    product.description asc,
    product.stock_code asc
limit %(most)s
