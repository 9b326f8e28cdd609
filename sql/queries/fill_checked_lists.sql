-- One row for each list that is there or should be, with what the rules ask about.
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
    digest
)
with shown_code as materialized (
    select distinct shown_product.stock_code
    from given_list
    cross join lateral unnest(given_list.stock_codes) as shown_product (stock_code)
),

-- looked up once for each product and not for each list; mostly there is none
faulty_code as materialized (
    select
        stock_code,
        is_unsold,
        is_excluded,
        is_undescribed
    from (
        select
            shown_code.stock_code,
            given_product.stock_code is null as is_unsold,
            retail.is_excluded_stock_code(shown_code.stock_code) as is_excluded,
            product.stock_code is null as is_undescribed
        from shown_code
        left join given_product on shown_code.stock_code = given_product.stock_code
        left join retail.product on shown_code.stock_code = product.stock_code
    ) as looked_up
    where
        is_unsold
        or is_excluded
        or is_undescribed
),

faulty_list as (
    select
        given_list.audience,
        given_list.key,
        given_list.list_name,
        bool_or(faulty_code.is_unsold) as has_unsold,
        bool_or(faulty_code.is_excluded) as has_excluded,
        bool_or(faulty_code.is_undescribed) as has_undescribed
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
        customer_id::text as key,
        array_agg(stock_code) as stock_codes,
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
    where history.is_active
    union all
    select
        'product' as audience,
        given_product.stock_code as key,
        list_name
    from given_product
    cross join unnest(%(product_lists)s) as list_name
    union all
    select
        'fallback' as audience,
        given_country.country as key,
        list_name
    from given_country
    cross join unnest(%(fallback_lists)s) as list_name
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
    coalesce(listed.stock_codes && history.stock_codes, false) as has_bought,
    case
        when
            listed.audience = 'customer'
            and listed.list_name = 'for_you'
            then hashtextextended(listed.stock_codes::text, 0)
    end as digest
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
        and listed.list_name = 'discover'
