-- Writes the rows that are left into the catalogue. A fact for which the file has no column stays as it is.
with named as (
    select distinct on (stock_code) catalogue_row.*
    from catalogue_row
    order by stock_code, place
),

wanted as (
    select
        named.stock_code,
        known.stock_code is null as is_new,
        case when 'description' = any(%(facts)s) then named.description else known.description end as description,
        case when 'category' = any(%(facts)s) then named.category else known.category end as category,
        case when 'brand' = any(%(facts)s) then named.brand else known.brand end as brand,
        case when 'price' = any(%(facts)s) then named.price else known.price end as price,
        case when 'stock' = any(%(facts)s) then named.stock else known.stock end as stock,
        case when 'launched_on' = any(%(facts)s) then named.launched_on else known.launched_on end as launched_on,
        case when 'image_url' = any(%(facts)s) then named.image_url else known.image_url end as image_url,
        known.missing_since is not null as was_missing,
        (
            known.description, known.category, known.brand, known.price, known.stock, known.launched_on, known.image_url
        ) as facts_before
    from named
    left join retail.catalogue as known on named.stock_code = known.stock_code
),

written as (
    insert into retail.catalogue as known (
        stock_code, description, category, brand, price, stock, launched_on, image_url, load_id
    )
    select
        stock_code,
        description,
        category,
        brand,
        price,
        stock,
        launched_on,
        image_url,
        %(load_id)s
    from wanted
    where
        is_new
        or was_missing
        or (description, category, brand, price, stock, launched_on, image_url) is distinct from facts_before
    on conflict (stock_code) do update
        set
            description = excluded.description,
            category = excluded.category,
            brand = excluded.brand,
            price = excluded.price,
            stock = excluded.stock,
            launched_on = excluded.launched_on,
            image_url = excluded.image_url,
            load_id = excluded.load_id,
            missing_since = null
    returning known.stock_code
),

missing as (
    update retail.catalogue
    set missing_since = now()
    where
        %(is_whole)s
        and missing_since is null
        and stock_code not in (select catalogue_row.stock_code from catalogue_row)
        and stock_code <> all(%(refused)s)
    returning stock_code
)

select
    (select count(*) from wanted where is_new) as rows_new,
    (select count(*) from written) as rows_written,
    (select count(*) from named) as products,
    (select count(*) from catalogue_row) as rows_good,
    (select array_agg(missing.stock_code order by missing.stock_code) from missing) as missing
