-- Products by code, or by words of their description in any order; those after a code, in the order of codes.
select
    product.stock_code,
    product.description
from retail.product
where
    product.stock_code > %(after)s
    and (
        starts_with(product.stock_code, %(code)s)
        or (
            cardinality(%(words)s::text[]) > 0
            and product.description ilike all(%(words)s)
        )
    )
order by product.stock_code
limit %(most)s
