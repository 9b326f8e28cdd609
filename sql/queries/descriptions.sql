select
    stock_code,
    description
from retail.product
where stock_code = any(%(stock_codes)s)
