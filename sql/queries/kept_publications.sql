-- The publications whose files still exist, whatever their state.
select
    number,
    version,
    state,
    coalesce(published_at, created_at) as at
from ml.publication
where pruned_at is null
order by number desc
