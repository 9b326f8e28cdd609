-- The codes of products that begin as a code does that is not one.
select stock_code
from retail.described_product
where starts_with(stock_code, %(begins)s)
order by stock_code
limit 200
