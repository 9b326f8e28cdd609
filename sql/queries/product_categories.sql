select
    retail.canonical_stock_code(stock_code) as stock_code,
    min(category) as category
from retail.product_category
group by retail.canonical_stock_code(stock_code)
order by stock_code
