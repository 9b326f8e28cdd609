-- Those of the codes that were never sold and are not described.
with open_code as materialized (
    select given.stock_code
    from unnest(%(stock_codes)s::text[]) as given (stock_code)
    where
        not exists (
            select
            from retail.product
            where product.stock_code = given.stock_code
        )
),

-- mostly there is no such code, and then no line has to be read
sold_code as materialized (
    select distinct retail.canonical_stock_code(invoice_line.stock_code) as stock_code
    from retail.invoice_line
    where exists (select from open_code)
)

select open_code.stock_code
from open_code
where
    not exists (
        select
        from sold_code
        where sold_code.stock_code = open_code.stock_code
    )
order by open_code.stock_code
