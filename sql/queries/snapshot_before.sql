-- The newest snapshot with no later cutoff that broke no critical rule.
select
    cutoff,
    (report ->> 'lines')::bigint as lines,
    (report ->> 'active_days')::integer as active_days
from ml.snapshot
where
    snapshot_id <> %(snapshot_id)s
    and cutoff <= %(cutoff)s
    and report is not null
    and report ->> 'worst' is distinct from 'critical'
order by
    cutoff desc,
    snapshot_id desc
limit 1
