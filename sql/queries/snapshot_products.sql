-- the newest good description of each product; a merchandiser wants today's words, also for an old snapshot
select
    stock_code,
    description
from retail.product
