update retail.catalogue_load
set stock_waits = false
where
    stock_waits
    and load_id <= %(load_id)s
