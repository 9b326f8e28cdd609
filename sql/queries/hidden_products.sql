select
    hidden.stock_code,
    hidden.country,
    hidden.until,
    hidden.why,
    hidden.hidden_at,
    hidden.hidden_by
from retail.hidden_product as hidden
where
    hidden.shown_at is null
    and coalesce(hidden.until > now(), true)
order by
    hidden.stock_code asc,
    hidden.country asc nulls first
