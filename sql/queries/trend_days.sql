-- Invoice lines by day of trade, on the shop's clock: in a window, or from an instant on.
select
    invoice_date::date as day,
    count(*) as lines
from retail.invoice_line
where
    invoice_date >= %(since)s
    and (%(until)s::timestamp is null or invoice_date < %(until)s::timestamp)
group by invoice_date::date
order by day asc
