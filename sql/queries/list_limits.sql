select
    max_per_family,
    min_price::double precision as min_price
from retail.list_limit
