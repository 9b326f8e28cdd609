select
    rule_id,
    count(*) as lines
from raw.quarantined_line
cross join lateral unnest(rule_ids) as rule_id
where batch_id = %(batch_id)s
group by rule_id
order by rule_id asc
