-- Products with their description, and the price of one piece at the newest sale.
select
    product.stock_code,
    product.description,
    (array_agg(invoice_line.unit_price order by invoice_line.invoice_date desc))[1]::double precision as price
from retail.product
left join retail.invoice_line
    on
        product.stock_code = invoice_line.stock_code
        and invoice_line.quantity > 0
        and invoice_line.unit_price > 0
where product.stock_code = any(%(stock_codes)s)
group by
    product.stock_code,
    product.description
