insert into retail.product_country (stock_code, country)
select
    stock_code,
    country
from unnest(%(stock_codes)s::text[], %(countries)s::text[]) as given (stock_code, country)
