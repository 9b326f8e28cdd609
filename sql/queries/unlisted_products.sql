select distinct retail.canonical_stock_code(stock_code) as stock_code
from retail.unlisted_product
where shown_again_on is null or shown_again_on > %(today)s
order by stock_code
