-- The stored invoices that a batch's waiting lines belong to, before the batch is merged.
select distinct quarantined_line.invoice_no
from raw.quarantined_line
inner join retail.invoice on quarantined_line.invoice_no = invoice.invoice_no
where
    quarantined_line.batch_id = %(batch_id)s
    and quarantined_line.corrects is null
    and quarantined_line.state = 'waiting'
order by quarantined_line.invoice_no asc
