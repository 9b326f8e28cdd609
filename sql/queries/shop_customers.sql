-- Customers whose number begins with the given digits, those with most orders first.
select
    customer_id,
    max(country) as country,
    count(distinct invoice_no) as orders,
    max(invoice_date) as last_order
from retail.invoice_line
where
    customer_id is not null
    and quantity > 0
    and (%(begins)s = '' or customer_id::text like %(begins)s || '%%')
group by customer_id
order by
    orders desc,
    customer_id asc
limit %(most)s
