-- The champion, if it is not the given version: who promoted it, when and why. And the champion of the time when the
-- given version's run began. Version 0 that serves because no model ever did is nobody's choice.
select
    champion.version,
    champion.cutoff,
    event.actor,
    event.reason,
    event.at,
    candidate.parent,
    candidate.cutoff as candidate_cutoff,
    champion.recommender = 'baselines' as is_version_0,
    champion.recommender = 'baselines'
    and not exists (
        select 1 from ml.model_version as model
        where
            model.recommender <> 'baselines'
            and model.promoted_at is not null
    ) as serves_for_want_of_a_model
from ml.model_version as candidate
inner join ml.model_version as champion on candidate.version <> champion.version
inner join lateral (
    select
        actor,
        at,
        coalesce(reason, 'no reason given') as reason
    from ml.model_event
    where
        version = champion.version
        and to_state = 'champion'
    order by event_id desc
    limit 1
) as event on true
where
    candidate.version = %(version)s
    and champion.state = 'champion'
