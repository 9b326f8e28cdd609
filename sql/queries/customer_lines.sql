-- A customer's invoice lines, returns too, the newest first; those that come after a given line.
select
    invoice_no,
    line_number,
    description,
    invoice_date,
    quantity::double precision as quantity,
    unit_price::double precision as unit_price,
    retail.canonical_stock_code(stock_code) as stock_code
from retail.invoice_line
where
    customer_id = %(customer_id)s
    and (
        %(at)s::timestamp is null
        or (invoice_date, invoice_no, line_number) < (%(at)s::timestamp, %(invoice_no)s, %(line_number)s)
    )
order by
    invoice_date desc,
    invoice_no desc,
    line_number desc
limit %(most)s
