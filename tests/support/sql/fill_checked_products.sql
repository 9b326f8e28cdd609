-- On how many customers' `for_you` lists each product is by its rank. Lists on which a pin put it are left out, but a
-- product that is on any list counts as shown.
insert into ml.checked_product (stock_code, customers)
with pin as (
    select distinct
        upper(btrim(stock_code)) as stock_code,
        country
    from retail.pinned_product
    where
        list_name = 'for_you'
        and %(today)s >= starts_on
        and coalesce(%(today)s < ends_on, true)
),

shown as (
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
),

pinned as (
    select
        pin.stock_code,
        count(distinct given_list.key) as customers
    from given_list
    left join given_control on given_list.key = given_control.key
    cross join lateral unnest(given_list.stock_codes) as shown_product (stock_code)
    inner join pin on shown_product.stock_code = pin.stock_code
    left join given_customer_country on given_list.key = given_customer_country.customer_id
    where
        given_list.audience = 'customer'
        and given_list.list_name = 'for_you'
        and given_control.key is null
        and (pin.country is null or pin.country = given_customer_country.country)
    group by pin.stock_code
)

select
    given_product.stock_code,
    case
        when shown.customers is null then 0
        else greatest(shown.customers - coalesce(pinned.customers, 0), 1)
    end as customers
from given_product
left join shown on given_product.stock_code = shown.stock_code
left join pinned on given_product.stock_code = pinned.stock_code
