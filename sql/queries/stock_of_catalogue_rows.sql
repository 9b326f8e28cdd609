select distinct
    stock_code,
    stock <= 0 as is_sold_out
from catalogue_row
where stock is not null
order by stock_code
