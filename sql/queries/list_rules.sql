-- Every rule about a product, also one that is over or has not begun. Limits are in list_limits.sql.
with leaves_out as (
    select
        why as kind,
        retail.canonical_stock_code(stock_code) as stock_code,
        null::text[] as countries,
        null::text as list_name,
        null::integer as position,
        null::date as starts_on,
        shown_again_on as ends_on,
        note,
        null::bigint as pin_id,
        null::text as beside
    from retail.unlisted_product
),

only_in as (
    select
        'only in' as kind,
        retail.canonical_stock_code(stock_code) as stock_code,
        array_agg(distinct country order by country) as countries,
        null::text as list_name,
        null::integer as position,
        null::date as starts_on,
        null::date as ends_on,
        null::text as note,
        null::bigint as pin_id,
        null::text as beside
    from retail.product_country
    group by retail.canonical_stock_code(stock_code)
),

pinned as (
    select
        case when beside is null then 'pinned' else 'pinned beside' end as kind,
        retail.canonical_stock_code(stock_code) as stock_code,
        case when country is not null then array[country] end as countries,
        list_name,
        position,
        starts_on,
        ends_on,
        note,
        pin_id,
        retail.canonical_stock_code(beside) as beside
    from retail.pinned_product
)

select * from leaves_out
union all
select * from only_in
union all
select * from pinned
order by
    stock_code asc,
    kind asc,
    pin_id asc
