-- What is a purchase, and the hash of an invoice: defined once, for every query that needs them.

create view retail.purchase_or_return as
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
        and invoice_line.invoice_no not ilike 'c%'
    );
comment on view retail.purchase_or_return is
'The lines of invoices that are purchases, and those that may take a purchase back: all negative quantities. A line '
'without a price, a positive line of a cancellation, and a code in retail.excluded_stock_code are neither.';
comment on column retail.purchase_or_return.stock_code is 'In canonical spelling.';

create function retail.invoice_sha256(contents text[]) returns text
language sql stable strict parallel safe
return encode(sha256(convert_to(array_to_string(contents, e'\x1d'), 'UTF8')), 'hex');
comment on function retail.invoice_sha256 is
'The hash of an invoice, from retail.line_content of its lines, in their order.';
