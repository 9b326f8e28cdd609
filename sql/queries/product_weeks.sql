-- What a product sold in each week, Monday to Sunday, on the shop's clock. Returns are taken off the takings.
select
    date_trunc('week', invoice_date)::date as week,
    coalesce(sum(quantity) filter (where quantity > 0), 0)::double precision as pieces,
    sum(quantity * unit_price)::double precision as takings,
    count(distinct invoice_no) filter (where quantity > 0) as invoices
from retail.invoice_line
where
    retail.canonical_stock_code(stock_code) = %(stock_code)s
    -- as in the index; since is a Monday
    and date_trunc('week', invoice_date) >= %(since)s
    and invoice_date < %(until)s
group by date_trunc('week', invoice_date)
order by week asc
