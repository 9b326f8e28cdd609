-- Products with their description, the price of one piece at the newest sale, and what the catalogue has of them.
select
    asked.stock_code,
    catalogue.image_url,
    coalesce(product.description, catalogue.description) as description,
    coalesce(newest.price, catalogue.price::double precision) as price
from unnest(%(stock_codes)s::text[]) as asked (stock_code)
left join retail.product on asked.stock_code = product.stock_code
left join retail.catalogue on asked.stock_code = catalogue.stock_code
left join lateral (
    select invoice_line.unit_price::double precision as price
    from retail.invoice_line
    where
        retail.canonical_stock_code(invoice_line.stock_code) = product.stock_code
        and invoice_line.quantity > 0
        and invoice_line.unit_price > 0
    order by
        -- as in the index, so that no more than the lines of one week are read and sorted
        date_trunc('week', invoice_line.invoice_date) desc,
        invoice_line.invoice_date desc,
        invoice_line.unit_price desc
    limit 1
) as newest on true
where coalesce(product.description, catalogue.description) is not null
