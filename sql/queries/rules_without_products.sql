-- The shop's own rules that no product of the shop matches: probably misspelled, or of a product that is gone.
with rule as (
    select
        'retail.excluded_stock_code' as place,
        pattern,
        true as is_pattern
    from retail.excluded_stock_code
    where not is_shipped
    union
    select
        'retail.unlisted_product' as place,
        stock_code as pattern,
        false as is_pattern
    from retail.unlisted_product
    union
    select
        'retail.product_country' as place,
        stock_code as pattern,
        false as is_pattern
    from retail.product_country
),

-- most rules match a product with a description
open_rule as materialized (
    select *
    from rule
    where not exists (
        select
        from retail.described_product
        where
            case
                when rule.is_pattern then retail.code_matches(described_product.stock_code, rule.pattern)
                else described_product.stock_code = retail.canonical_stock_code(rule.pattern)
            end
    )
),

-- mostly there is no other rule, and then no line has to be read
known_code as materialized (
    select distinct stock_code
    from retail.known_product
    where exists (select from open_rule)
)

select
    place,
    pattern
from open_rule
where
    not exists (
        select
        from known_code
        where
            case
                when open_rule.is_pattern then retail.code_matches(known_code.stock_code, open_rule.pattern)
                else known_code.stock_code = retail.canonical_stock_code(open_rule.pattern)
            end
    )
order by
    place asc,
    pattern asc
limit 20
