select model_version.version
from ml.model_version
left join ml.gate_decision on model_version.version = gate_decision.version
where
    model_version.version = %(version)s
    and (
        model_version.recommender = 'baselines'
        or (
            model_version.url is not null
            and model_version.pruned_at is null
            and gate_decision.promote
        )
    )
