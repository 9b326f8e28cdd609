select
    load_id,
    source,
    is_whole,
    facts,
    loaded_by,
    loaded_at,
    rows_read,
    rows_new,
    rows_changed,
    rows_unchanged,
    rows_repeated,
    rows_refused,
    products_missing,
    stock_waits
from retail.catalogue_load
order by load_id desc
limit %(most)s
