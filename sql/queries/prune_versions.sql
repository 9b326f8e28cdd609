-- Never the champion: somebody may have rolled back to it a moment ago. Version 0 has no model to remove.
update ml.model_version
set pruned_at = now()
where
    version = any(%(versions)s)
    and pruned_at is null
    and state <> 'champion'
    and recommender <> 'baselines'
