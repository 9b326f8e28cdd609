insert into retail.bundle (
    place,
    stock_codes,
    invoices,
    support,
    confidence,
    lift,
    revenue,
    as_of
) values (
    %(place)s,
    %(stock_codes)s,
    %(invoices)s,
    %(support)s,
    %(confidence)s,
    %(lift)s,
    %(revenue)s,
    %(as_of)s
)
