-- the stored ids that differ from an id in case or in zeros in front, and the id itself
select distinct invoice_line.customer_id
from retail.invoice_line
where
    invoice_line.customer_id is not null
    and ltrim(lower(invoice_line.customer_id), '0') = ltrim(lower(%(customer_id)s), '0')
order by invoice_line.customer_id
