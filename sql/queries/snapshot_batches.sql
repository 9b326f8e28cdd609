select distinct batch_id
from retail.invoice_line
where invoice_date < %(cutoff)s
order by batch_id
