select
    stock_code,
    description
from retail.described_product
where stock_code = any(%(stock_codes)s)
