delete from retail.unlisted_product
where retail.canonical_stock_code(stock_code) = any(%(stock_codes)s)
