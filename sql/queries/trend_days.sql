-- Invoice lines by day of trade, on the shop's clock, over the last days that the live lists know, and later ones.
select
    invoice_date::date as day,
    count(*) as lines
from retail.invoice_line
where
    invoice_date >= (
        select max(as_of) from ml.publication
        where state = 'published'
    ) - make_interval(days => %(count)s)
group by invoice_date::date
order by day asc
