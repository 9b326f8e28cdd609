select
    version,
    from_state,
    to_state,
    actor,
    reason,
    at
from ml.model_event
where version = %(version)s
order by event_id
