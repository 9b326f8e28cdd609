-- Customers' purchases and returns before an instant, in their order. The rules are those of interactions.sql.
with spelling as materialized (
    select distinct stock_code
    from retail.invoice_line
),

product_code as (
    select
        stock_code,
        retail.canonical_stock_code(stock_code) as product_code
    from spelling
    where not retail.is_excluded_stock_code(stock_code)
)

select
    invoice_line.customer_id,
    product_code.product_code as stock_code,
    invoice_line.invoice_no,
    invoice_line.invoice_date as purchased_at,
    invoice_line.quantity,
    invoice_line.unit_price::double precision as unit_price
from retail.invoice_line
inner join product_code on invoice_line.stock_code = product_code.stock_code
where
    invoice_line.customer_id is not null
    and invoice_line.invoice_date < %(until)s
    and (
        invoice_line.quantity < 0
        or (
            invoice_line.quantity > 0
            and invoice_line.unit_price > 0
            and invoice_line.invoice_no not ilike 'c%%'
        )
    )
order by
    invoice_line.invoice_date asc,
    invoice_line.quantity > 0 desc,
    invoice_line.invoice_no collate "C" asc,
    invoice_line.line_number asc
