select
    stock_code,
    stock <= 0 as is_sold_out
from retail.catalogue
where
    stock is not null
    and missing_since is null
order by stock_code
