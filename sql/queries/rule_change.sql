select
    rule_change.change_id,
    later.change_id as undone_by
from retail.rule_change
left join retail.rule_change as later on rule_change.change_id = later.undoes
where rule_change.change_id = %(change_id)s
order by later.change_id desc
limit 1
