-- Those of the codes that are no product of the shop. An index finds each, whatever the shop has sold.
select given.stock_code
from unnest(%(stock_codes)s::text[]) as given (stock_code)
where
    not exists (
        select
        from retail.known_product
        where known_product.stock_code = given.stock_code
    )
order by given.stock_code
