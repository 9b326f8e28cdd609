-- What the shop knows of one customer. The country is that of the newest line.
select
    (array_agg(country order by invoice_date desc))[1] as country,
    count(distinct invoice_no) as orders,
    min(invoice_date) as first_order,
    max(invoice_date) as last_order
from retail.invoice_line
where
    customer_id = %(customer_id)s
    and quantity > 0
having count(*) > 0
