insert into retail.pinned_product (stock_code, list_name, country, position, starts_on, ends_on, note, beside)
select
    stock_code,
    list_name,
    country,
    position,
    starts_on,
    ends_on,
    note,
    beside
from
    unnest(
        %(stock_codes)s::text[],
        %(list_names)s::text[],
        %(countries)s::text[],
        %(positions)s::integer[],
        %(starts_on)s::date[],
        %(ends_on)s::date[],
        %(notes)s::text[],
        %(besides)s::text[]
    ) as given (stock_code, list_name, country, position, starts_on, ends_on, note, beside)
