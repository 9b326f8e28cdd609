-- The shop's own rules that no product of the shop matches: probably misspelled, or of a product that is gone.
with product as materialized (
    select distinct retail.canonical_stock_code(stock_code) as stock_code
    from retail.invoice_line
    where
        -- most shops have no such rules, so that no line has to be read
        exists (select from retail.excluded_stock_code where not is_shipped)
        or exists (select from retail.unlisted_product)
        or exists (select from retail.product_country)
    union
    select stock_code
    from retail.product
),

named as (
    select
        'retail.unlisted_product' as place,
        stock_code
    from retail.unlisted_product
    union
    select
        'retail.product_country' as place,
        stock_code
    from retail.product_country
)

select
    'retail.excluded_stock_code' as place,
    pattern
from retail.excluded_stock_code
where
    not is_shipped
    and not exists (
        select
        from product
        where retail.code_matches(product.stock_code, excluded_stock_code.pattern)
    )
union all
select
    place,
    stock_code as pattern
from named
where retail.canonical_stock_code(stock_code) not in (select product.stock_code from product)
order by
    place asc,
    pattern asc
limit 20
