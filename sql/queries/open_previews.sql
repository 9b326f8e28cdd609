select
    preview_id,
    change,
    asked_by,
    reason,
    asked_at,
    seen,
    state,
    result,
    error,
    saved_as
from retail.rule_preview
where state in ('waiting', 'running', 'ready')
order by preview_id desc
limit 20
