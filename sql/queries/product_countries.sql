select
    retail.canonical_stock_code(stock_code) as stock_code,
    array_agg(distinct country) as countries
from retail.product_country
group by retail.canonical_stock_code(stock_code)
order by stock_code
