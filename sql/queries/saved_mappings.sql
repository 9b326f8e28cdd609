-- the mappings that read files now, of those that people saved
select
    name,
    yaml,
    saved_by,
    saved_at
from raw.mapping
where
    ended_at is null
    and name = coalesce(%(name)s, name)
order by name asc
