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
    catalogue.launched_on,
    coalesce(catalogue.stock_code, by_hand.stock_code) as stock_code,
    coalesce(by_hand.category, catalogue.category) as category,
    catalogue.stock_code is not null as is_listed,
    coalesce(
        catalogue.description is not null
        and catalogue.missing_since is null
        and coalesce(catalogue.launched_on <= %(today)s, true)
        and coalesce(catalogue.stock > 0, true)
        and coalesce(catalogue.price >= limits.min_price, true)
        and not retail.is_excluded_stock_code(catalogue.stock_code),
        false
    ) as is_offered
from retail.catalogue
full outer join by_hand on catalogue.stock_code = by_hand.stock_code
left join retail.list_limit as limits on true
order by stock_code
