select
    customer_id,
    max(country) as country,
    -- cancellations have a negative quantity, so the sum takes them off
    sum(quantity * unit_price)::double precision as spent,
    count(distinct invoice_no) filter (where quantity > 0) as invoices
from retail.invoice_line
where customer_id is not null
group by customer_id
order by
    spent desc,
    length(customer_id) asc,
    customer_id collate "C" asc
limit %(count)s
