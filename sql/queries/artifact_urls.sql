-- Where the registry says that files lie, and whether they should still be there.
select
    url,
    pruned_at is null as is_kept
from ml.snapshot
union all
select
    url,
    pruned_at is null as is_kept
from ml.model_version
where url is not null
union all
select
    url,
    pruned_at is null as is_kept
from ml.publication
union all
select
    url,
    false as is_kept
from ml.draft
where state = 'open'
