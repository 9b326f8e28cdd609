insert into retail.unlisted_product (stock_code, why, shown_again_on, note)
select
    stock_code,
    why,
    ends_on,
    note
from unnest(%(stock_codes)s::text[], %(whys)s::text[], %(ends_on)s::date[], %(notes)s::text[])
    as given (stock_code, why, ends_on, note)
