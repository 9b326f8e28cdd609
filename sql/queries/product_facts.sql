-- A product, with its newest sale before now, and whether its code stands for none.
select
    described_product.stock_code,
    described_product.description,
    newest.price,
    newest.sold_at,
    retail.is_excluded_stock_code(described_product.stock_code) as is_excluded
from retail.described_product
left join lateral (
    select
        invoice_line.unit_price::double precision as price,
        invoice_line.invoice_date as sold_at
    from retail.invoice_line
    where
        retail.canonical_stock_code(invoice_line.stock_code) = described_product.stock_code
        and invoice_line.quantity > 0
        and invoice_line.unit_price > 0
    order by
        -- as in the index, so that no more than the lines of one week are read and sorted
        date_trunc('week', invoice_line.invoice_date) desc,
        invoice_line.invoice_date desc,
        invoice_line.unit_price desc
    limit 1
) as newest on true
where described_product.stock_code = %(stock_code)s
