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
where preview_id = %(preview_id)s
