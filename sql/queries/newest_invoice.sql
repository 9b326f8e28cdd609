select max(invoice_date) as newest
from retail.invoice_line
