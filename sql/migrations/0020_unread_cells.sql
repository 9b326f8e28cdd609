-- Which cells of a line in quarantine could not be read, and the values of the others, however their file wrote them.
alter table raw.quarantined_line
-- columns whose cell could not be read, or `line`; null if every cell could
add column unreadable text[],
-- the values of the other columns, in one spelling; null if every cell could be read
add column readable jsonb;

-- The first invoices whose earlier lines a batch replaced.
alter table raw.batch add column replaced_invoices text[];

create function retail.is_cancellation(invoice_no text) returns boolean
language sql immutable strict parallel safe
return invoice_no ~* '^c[0-9]+$';
comment on function retail.is_cancellation is
'An invoice that takes back: C and digits. Orders such as CA-2016-152156 are none.';

create or replace view retail.purchase_or_return as
-- materialized, so that each spelling of a code is matched with the patterns once, and not each line
with spelling as materialized (
    select distinct stock_code
    from retail.invoice_line
),

product_code as (
    select
        stock_code as spelled,
        retail.canonical_stock_code(stock_code) as stock_code
    from spelling
    where not retail.is_excluded_stock_code(stock_code)
)

select
    invoice_line.invoice_no,
    invoice_line.line_number,
    product_code.stock_code,
    invoice_line.description,
    invoice_line.quantity,
    invoice_line.invoice_date,
    invoice_line.unit_price,
    invoice_line.customer_id,
    invoice_line.country,
    invoice_line.quantity > 0 as is_purchase
from retail.invoice_line
inner join product_code on invoice_line.stock_code = product_code.spelled
where
    invoice_line.quantity < 0
    or (
        invoice_line.quantity > 0
        and invoice_line.unit_price > 0
        and not retail.is_cancellation(invoice_line.invoice_no)
    );
