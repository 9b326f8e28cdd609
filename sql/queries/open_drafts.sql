select
    draft_id,
    opened_at
from ml.draft
where state = 'open'
order by draft_id
