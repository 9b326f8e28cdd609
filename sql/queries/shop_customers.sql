-- Customers whose id begins with a text, those with most orders first.
select
    customer_id,
    max(country) as country,
    count(distinct invoice_no) as orders,
    max(invoice_date) as last_order
from retail.invoice_line
where
    customer_id is not null
    and quantity > 0
    and starts_with(customer_id, %(begins)s)
group by customer_id
order by
    orders desc,
    length(customer_id) asc,
    customer_id collate "C" asc
limit %(most)s
