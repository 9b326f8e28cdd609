-- What the rules on lists need to know of each product.
with unlisted as (
    select distinct upper(btrim(stock_code)) as stock_code
    from retail.unlisted_product
    where coalesce(shown_again_on > %(today)s, true)
),

restricted as (
    select
        upper(btrim(stock_code)) as stock_code,
        array_agg(country) as countries
    from retail.product_country
    group by upper(btrim(stock_code))
)

select
    listed_product.stock_code,
    listed_product.is_sold,
    restricted.countries,
    -- a product that is pinned, or in the catalogue, may be new, without a sale
    not listed_product.is_sold
    and (
        described_product.stock_code is null
        or (not listed_product.is_pinned and catalogue.stock_code is null)
    ) as is_unsold,
    listed_product.is_shown and retail.is_excluded_stock_code(listed_product.stock_code) as is_excluded,
    described_product.stock_code is null as is_undescribed,
    unlisted.stock_code is not null as is_unlisted,
    coalesce(listed_product.unit_price < limits.min_price, false) as is_cheap,
    catalogue.stock_code is not null and not listed_product.is_sold as is_new,
    case when limits.max_per_family is not null then retail.product_family(listed_product.stock_code) end as family
from listed_product
left join retail.described_product on listed_product.stock_code = described_product.stock_code
left join unlisted on listed_product.stock_code = unlisted.stock_code
left join retail.catalogue on listed_product.stock_code = catalogue.stock_code
left join restricted on listed_product.stock_code = restricted.stock_code
left join retail.list_limit as limits on true
