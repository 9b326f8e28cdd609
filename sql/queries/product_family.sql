-- The products of a family: those whose code is its number, and letters.
select
    product.stock_code,
    product.description
from retail.product
where
    starts_with(product.stock_code, %(family)s)
    and retail.product_family(product.stock_code) = %(family)s
order by product.stock_code
limit %(most)s
