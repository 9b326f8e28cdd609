delete from retail.catalogue
where
    stock_code = any(
        select retail.canonical_stock_code(code)
        from unnest(%(stock_codes)s) as asked (code)
    )
returning stock_code
