select stock_code
from unnest(%(stock_codes)s::text[]) as stock_code
where retail.is_excluded_stock_code(stock_code)
order by stock_code
