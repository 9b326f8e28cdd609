-- A category by hand counts in place of that of the catalogue, as in product_categories.
with by_hand as (
    select
        retail.canonical_stock_code(stock_code) as stock_code,
        min(category) as category
    from retail.product_category
    group by retail.canonical_stock_code(stock_code)
)

select
    catalogue.description,
    catalogue.brand,
    coalesce(catalogue.stock_code, by_hand.stock_code) as stock_code,
    coalesce(by_hand.category, catalogue.category) as category,
    catalogue.stock_code is not null as is_listed
from retail.catalogue
full outer join by_hand on catalogue.stock_code = by_hand.stock_code
order by stock_code
