-- The newest good description of each product: a merchandiser wants today's words, even for an old snapshot.
select
    stock_code,
    description
from retail.product
