select country
from retail.invoice_line
where country is not null
group by country
order by country asc
