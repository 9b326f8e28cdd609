-- The champion, since when and by whom it serves, and how the newest retrain ended. One row; null if there is none yet.
-- Version 0 serves like any other, but no retrain made it.
with began as (
    select
        model_event.at,
        model_event.actor,
        model_event.reason
    from ml.model_event
    inner join ml.model_version on model_event.version = model_version.version
    where
        model_version.state = 'champion'
        and model_event.to_state = 'champion'
        and model_event.from_state is distinct from 'champion'
    order by model_event.event_id desc
    limit 1
),

newest as (
    select
        model_version.version,
        model_version.state,
        model_version.created_at,
        gate_decision.promote
    from ml.model_version
    left join ml.gate_decision on model_version.version = gate_decision.version
    where model_version.recommender <> 'baselines'
    order by model_version.version desc
    limit 1
)

select
    champion.version as champion,
    champion.cutoff,
    began.at as serves_since,
    began.actor,
    began.reason,
    newest.version as newest,
    newest.state as newest_state,
    newest.created_at as newest_at,
    newest.promote as newest_may_serve,
    exists(select 1 from raw.batch where status = 'merged') as has_invoices,
    exists(select 1 from ml.publication where state = 'published') as has_published
from (select 1) as one_row
left join ml.model_version as champion on champion.state = 'champion'
left join began on true
left join newest on true
