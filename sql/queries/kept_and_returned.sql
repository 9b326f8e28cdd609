-- Customers' purchases and returns before an instant. At the same instant, a purchase comes before a return.
select
    customer_id,
    stock_code,
    invoice_no,
    invoice_date as purchased_at,
    quantity::double precision as quantity,
    unit_price::double precision as unit_price
from retail.purchase_or_return
where
    customer_id is not null
    and invoice_date < %(until)s
order by
    counts_at asc,
    is_purchase desc,
    invoice_no collate "C" asc,
    line_number asc
