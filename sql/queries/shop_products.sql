-- Products with their description, and the price of one piece at the newest sale.
select
    product.stock_code,
    product.description,
    newest.price
from retail.product
left join lateral (
    select invoice_line.unit_price::double precision as price
    from retail.invoice_line
    where
        retail.canonical_stock_code(invoice_line.stock_code) = product.stock_code
        and invoice_line.quantity > 0
        and invoice_line.unit_price > 0
    order by
        invoice_line.invoice_date desc,
        invoice_line.unit_price desc
    limit 1
) as newest on true
where product.stock_code = any(%(stock_codes)s)
