-- The products of a family: those whose code is its number, and letters.
select
    described_product.stock_code,
    described_product.description
from retail.described_product
where
    starts_with(described_product.stock_code, %(family)s)
    and retail.product_family(described_product.stock_code) = %(family)s
order by described_product.stock_code
limit %(most)s
