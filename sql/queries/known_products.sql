-- Of some stock codes, those that the shop describes or has sold, as they are written here.
select asked.code
from unnest(%(stock_codes)s) as asked (code)
where
    exists (
        select
        from retail.product
        where product.stock_code = retail.canonical_stock_code(asked.code)
    )
    or exists (
        select
        from retail.invoice_line
        where retail.canonical_stock_code(invoice_line.stock_code) = retail.canonical_stock_code(asked.code)
    )
