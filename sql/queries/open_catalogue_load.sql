insert into retail.catalogue_load (
    source, sha256, is_whole, facts, loaded_by, stock_waits,
    rows_read, rows_new, rows_changed, rows_unchanged, rows_repeated, rows_refused, products_missing
)
values (%(source)s, %(sha256)s, %(is_whole)s, %(facts)s, %(loaded_by)s, %(stock_waits)s, 0, 0, 0, 0, 0, 0, 0)
returning load_id
