-- The gate's last decisions, each with the version's present state, newest first.
select
    gate_decision.version,
    gate_decision.promote,
    gate_decision.reasons,
    gate_decision.decided_at,
    model_version.state,
    model_version.cutoff,
    model_version.requested_by,
    model_version.withdrawn_at,
    gate_decision.details ->> 'incumbent' as incumbent
from ml.gate_decision
inner join ml.model_version on gate_decision.version = model_version.version
order by gate_decision.version desc
limit %(count)s
