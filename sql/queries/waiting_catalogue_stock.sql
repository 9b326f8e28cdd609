select load_id
from retail.catalogue_load
where stock_waits
