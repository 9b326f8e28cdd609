-- Ends what hides a product, in one country or everywhere. Rows whose time is over are ended too, and not returned.
with ended as (
    update retail.hidden_product
    set
        shown_at = now(),
        shown_by = %(actor)s
    where
        stock_code = retail.canonical_stock_code(%(stock_code)s)
        and country is not distinct from %(country)s
        and shown_at is null
    returning
        stock_code,
        until
)

select stock_code
from ended
where coalesce(until > now(), true)
