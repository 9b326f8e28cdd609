select model_version.version
from ml.model_version
inner join ml.gate_decision on model_version.version = gate_decision.version
where
    model_version.version = %(version)s
    and model_version.url is not null
    and model_version.pruned_at is null
    and gate_decision.promote
