-- By hand, or else from the shop's catalogue.
with by_hand as (
    select
        retail.canonical_stock_code(stock_code) as stock_code,
        min(category) as category
    from retail.product_category
    group by retail.canonical_stock_code(stock_code)
)

select
    coalesce(by_hand.stock_code, catalogue.stock_code) as stock_code,
    coalesce(by_hand.category, catalogue.category) as category
from by_hand
full outer join retail.catalogue on by_hand.stock_code = catalogue.stock_code
where coalesce(by_hand.category, catalogue.category) is not null
order by stock_code
