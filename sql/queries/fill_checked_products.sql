insert into ml.checked_product (stock_code, customers)
with shown as (
    select
        shown_product.stock_code,
        count(*) as customers
    from given_list
    left join given_control on given_list.key = given_control.key
    cross join lateral unnest(given_list.stock_codes) as shown_product (stock_code)
    where
        given_list.audience = 'customer'
        and given_list.list_name = 'for_you'
        and given_control.key is null
    group by shown_product.stock_code
)

select
    given_product.stock_code,
    coalesce(shown.customers, 0) as customers
from given_product
left join shown on given_product.stock_code = shown.stock_code
