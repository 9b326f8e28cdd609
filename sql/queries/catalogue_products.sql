select
    stock_code,
    description,
    category,
    brand,
    price,
    stock,
    launched_on,
    image_url,
    missing_since
from retail.catalogue
where
    %(stock_codes)s::text[] is null
    or stock_code = any(
        select retail.canonical_stock_code(code)
        from unnest(%(stock_codes)s::text[]) as asked (code)
    )
order by stock_code
