-- The publications whose files still exist, whatever their state.
select
    number,
    version,
    state,
    -- A publisher's clock may be ahead or behind. The database's says when the publication was opened.
    least(greatest(published_at, created_at), created_at + interval '1 day') as at
from ml.publication
where pruned_at is null
order by number desc
