-- Those of the codes that were never sold and are not described. An index finds each, whatever the shop has sold.
select given.stock_code
from unnest(%(stock_codes)s::text[]) as given (stock_code)
where
    not exists (
        select
        from retail.product
        where product.stock_code = given.stock_code
    )
    and not exists (
        select
        from retail.invoice_line
        where retail.canonical_stock_code(invoice_line.stock_code) = given.stock_code
    )
order by given.stock_code
