-- The lines that wait, of a batch or with a rule or both, up to one that somebody has seen.
select quarantine_id
from raw.quarantined_line
where
    state = 'waiting'
    and (%(batch_id)s::bigint is null or batch_id = %(batch_id)s)
    and (%(rule_id)s::text is null or %(rule_id)s = any(rule_ids))
    and quarantine_id <= %(up_to)s
order by quarantine_id asc
