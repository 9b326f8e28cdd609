-- One row for each list that is given or expected, with the flags that the rules check.
insert into ml.checked_list (
    audience,
    key,
    list_name,
    is_expected,
    length,
    has_repeated,
    has_unsold,
    has_excluded,
    has_undescribed,
    has_bought,
    has_unlisted,
    has_foreign,
    has_cheap,
    family_members,
    lacks_pinned,
    digest,
    history
)
with unlisted as (
    select distinct upper(btrim(stock_code)) as stock_code
    from retail.unlisted_product
    where coalesce(shown_again_on > %(today)s, true)
),

pin_in_force as (
    select
        upper(btrim(stock_code)) as stock_code,
        list_name,
        country,
        upper(btrim(beside)) as beside
    from retail.pinned_product
    where
        %(today)s >= starts_on
        and coalesce(%(today)s < ends_on, true)
),

restricted as (
    select
        upper(btrim(stock_code)) as stock_code,
        array_agg(country) as countries
    from retail.product_country
    group by upper(btrim(stock_code))
),

shown_code as materialized (
    select distinct shown_product.stock_code
    from given_list
    cross join lateral unnest(given_list.stock_codes) as shown_product (stock_code)
),

-- looked up once for each product, not for each list; mostly empty
faulty_code as materialized (
    select
        stock_code,
        is_unsold,
        is_excluded,
        is_undescribed,
        is_unlisted,
        is_cheap
    from (
        select
            shown_code.stock_code,
            -- a product that is pinned, or in the catalogue, may be new, without a sale
            given_product.stock_code is null
            and (
                described_product.stock_code is null
                or (pin.stock_code is null and catalogue.stock_code is null)
            ) as is_unsold,
            unlisted.stock_code is not null as is_unlisted,
            coalesce(given_product.unit_price < limits.min_price, false) as is_cheap,
            retail.is_excluded_stock_code(shown_code.stock_code) as is_excluded,
            described_product.stock_code is null as is_undescribed
        from shown_code
        left join given_product on shown_code.stock_code = given_product.stock_code
        left join retail.described_product on shown_code.stock_code = described_product.stock_code
        left join unlisted on shown_code.stock_code = unlisted.stock_code
        left join (select distinct stock_code from pin_in_force) as pin
            on shown_code.stock_code = pin.stock_code
        left join retail.catalogue on shown_code.stock_code = catalogue.stock_code
        left join retail.list_limit as limits on true
    ) as looked_up
    where
        is_unsold
        or is_excluded
        or is_undescribed
        or is_unlisted
        or is_cheap
),

faulty_list as (
    select
        given_list.audience,
        given_list.key,
        given_list.list_name,
        bool_or(faulty_code.is_unsold) as has_unsold,
        bool_or(faulty_code.is_excluded) as has_excluded,
        bool_or(faulty_code.is_undescribed) as has_undescribed,
        bool_or(faulty_code.is_unlisted) as has_unlisted,
        bool_or(faulty_code.is_cheap) as has_cheap
    from given_list
    cross join lateral unnest(given_list.stock_codes) as shown_product (stock_code)
    inner join faulty_code on shown_product.stock_code = faulty_code.stock_code
    group by
        given_list.audience,
        given_list.key,
        given_list.list_name
),

history as (
    select
        customer_id as key,
        array_agg(stock_code) as stock_codes,
        hashtextextended(array_agg(stock_code order by stock_code)::text, 0) as digest,
        bool_or(is_kept) as is_active
    from given_pair
    group by customer_id
),

expected as (
    select
        'customer' as audience,
        history.key,
        list_name
    from history
    cross join unnest(%(customer_lists)s) as list_name
    left join given_control on history.key = given_control.key
    where
        history.is_active
        and (given_control.key is null or list_name = 'for_you')
    union all
    select
        'product' as audience,
        given_product.stock_code as key,
        list_name
    from given_product
    cross join unnest(%(product_lists)s) as list_name
    union all
    -- a product of the catalogue that was not sold may have products like it
    select
        'product' as audience,
        given_list.key,
        given_list.list_name
    from given_list
    inner join retail.catalogue on given_list.key = catalogue.stock_code
    left join given_product on given_list.key = given_product.stock_code
    where
        given_list.audience = 'product'
        and given_list.list_name = 'similar'
        and given_product.stock_code is null
    union all
    select
        'fallback' as audience,
        given_country.country as key,
        list_name
    from given_country
    cross join unnest(%(fallback_lists)s) as list_name
),

-- the country, or countries, of a list; a product's list and the one for everywhere have none
list_place as (
    select
        'customer' as audience,
        customer_id as key,
        array_agg(country) as countries
    from given_customer_country
    group by customer_id
    union all
    select
        'fallback' as audience,
        country as key,
        array[country] as countries
    from given_country
    where country <> '*'
),

foreign_list as (
    select distinct
        given_list.audience,
        given_list.key,
        given_list.list_name
    from given_list
    cross join lateral unnest(given_list.stock_codes) as shown_product (stock_code)
    inner join restricted on shown_product.stock_code = restricted.stock_code
    left join list_place
        on
            given_list.audience = list_place.audience
            and given_list.key = list_place.key
    where not coalesce(restricted.countries && list_place.countries, false)
),

-- Pins that no rule can hide. A pin that a rule may hide in some list is never reported as missing.
plain_pin as (
    select pin_in_force.*
    from pin_in_force
    left join given_product on pin_in_force.stock_code = given_product.stock_code
    left join retail.described_product on pin_in_force.stock_code = described_product.stock_code
    left join retail.list_limit as limits on true
    where
        (given_product.stock_code is not null or described_product.stock_code is not null)
        and coalesce(
            (
                select count(distinct relative.stock_code)
                from pin_in_force as relative
                where
                    retail.product_family(relative.stock_code) = retail.product_family(pin_in_force.stock_code)
            ) <= limits.max_per_family,
            true
        )
        and not retail.is_excluded_stock_code(pin_in_force.stock_code)
        and pin_in_force.stock_code not in (select stock_code from unlisted)
        and not pin_in_force.stock_code = any(%(hidden)s)
        and pin_in_force.stock_code not in (select stock_code from restricted)
        and coalesce(given_product.unit_price >= limits.min_price, true)
),

list_without_pin as (
    select distinct
        given_list.audience,
        given_list.key,
        given_list.list_name
    from given_list
    inner join plain_pin on given_list.list_name = plain_pin.list_name
    left join list_place
        on
            given_list.audience = list_place.audience
            and given_list.key = list_place.key
    left join history
        on
            given_list.audience = 'customer'
            and given_list.key = history.key
    where
        (plain_pin.country is null or list_place.countries = array[plain_pin.country])
        and (plain_pin.beside is null or given_list.key = plain_pin.beside)
        and not plain_pin.stock_code = any(given_list.stock_codes)
        and not (
            given_list.list_name = 'discover'
            and coalesce(plain_pin.stock_code = any(history.stock_codes), false)
        )
),

listed as (
    select
        coalesce(given_list.audience, expected.audience) as audience,
        coalesce(given_list.key, expected.key) as key,
        coalesce(given_list.list_name, expected.list_name) as list_name,
        expected.key is not null as is_expected,
        given_list.stock_codes
    from given_list
    full outer join expected
        on
            given_list.audience = expected.audience
            and given_list.key = expected.key
            and given_list.list_name = expected.list_name
)

select
    listed.audience,
    listed.key,
    listed.list_name,
    listed.is_expected,
    cardinality(listed.stock_codes) as length,
    (
        select count(*) > count(distinct shown_product.stock_code)
        from unnest(listed.stock_codes) as shown_product (stock_code)
    ) as has_repeated,
    coalesce(faulty_list.has_unsold, false) as has_unsold,
    coalesce(faulty_list.has_excluded, false) as has_excluded,
    coalesce(faulty_list.has_undescribed, false) as has_undescribed,
    listed.list_name = 'discover'
    and coalesce(listed.stock_codes && history.stock_codes, false) as has_bought,
    coalesce(faulty_list.has_unlisted, false) as has_unlisted,
    foreign_list.key is not null as has_foreign,
    coalesce(faulty_list.has_cheap, false) as has_cheap,
    case
        when (select max_per_family from retail.list_limit) is not null
            then (
                select max(member.members)
                from (
                    select count(*) as members
                    from unnest(listed.stock_codes) as shown_product (stock_code)
                    group by retail.product_family(shown_product.stock_code)
                ) as member
            )
    end as family_members,
    list_without_pin.key is not null as lacks_pinned,
    case
        when
            listed.audience = 'customer'
            and listed.list_name = 'for_you'
            and given_control.key is null
            then hashtextextended(listed.stock_codes::text, 0)
    end as digest,
    case when listed.list_name = 'for_you' then history.digest end as history
from listed
left join faulty_list
    on
        listed.audience = faulty_list.audience
        and listed.key = faulty_list.key
        and listed.list_name = faulty_list.list_name
left join history
    on
        listed.key = history.key
        and listed.audience = 'customer'
        and listed.list_name in ('discover', 'for_you')
left join given_control
    on
        listed.key = given_control.key
        and listed.audience = 'customer'
left join foreign_list
    on
        listed.audience = foreign_list.audience
        and listed.key = foreign_list.key
        and listed.list_name = foreign_list.list_name
left join list_without_pin
    on
        listed.audience = list_without_pin.audience
        and listed.key = list_without_pin.key
        and listed.list_name = list_without_pin.list_name
