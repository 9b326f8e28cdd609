update retail.catalogue_load
set
    rows_read = %(rows_read)s,
    rows_new = %(rows_new)s,
    rows_changed = %(rows_changed)s,
    rows_unchanged = %(rows_unchanged)s,
    rows_repeated = %(rows_repeated)s,
    rows_refused = %(rows_refused)s,
    products_missing = %(products_missing)s
where load_id = %(load_id)s
