-- The bundles as they were last found.
select
    place,
    stock_codes,
    invoices,
    support,
    confidence,
    lift,
    revenue,
    as_of,
    found_at
from retail.bundle
order by place
