select
    list_name,
    country,
    upper(btrim(stock_code)) as stock_code,
    upper(btrim(beside)) as beside
from retail.pinned_product
where
    %(today)s >= starts_on
    and coalesce(%(today)s < ends_on, true)
