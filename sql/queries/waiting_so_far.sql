-- How many lines of a batch or with a rule wait, and the newest of them.
select
    count(*) as lines,
    max(quarantine_id) as up_to
from raw.quarantined_line
where
    state = 'waiting'
    and (%(batch_id)s::bigint is null or batch_id = %(batch_id)s)
    and (%(rule_id)s::text is null or %(rule_id)s = any(rule_ids))
