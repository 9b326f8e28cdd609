-- What a customer's lines on some invoices add up to.
select
    invoice_no,
    count(*) as lines,
    sum(quantity * unit_price)::double precision as total
from retail.invoice_line
where
    invoice_no = any(%(invoices)s)
    and customer_id = %(customer_id)s
group by invoice_no
