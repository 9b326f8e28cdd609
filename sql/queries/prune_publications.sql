update ml.publication
set pruned_at = now()
where
    number = any(%(numbers)s)
    and pruned_at is null
