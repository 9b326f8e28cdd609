-- The country of each of these customers, from their newest line.
select distinct on (customer_id)
    customer_id,
    country
from retail.invoice_line
where
    customer_id = any(%(customers)s)
    and quantity > 0
order by
    customer_id asc,
    invoice_date desc
