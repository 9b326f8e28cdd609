-- The newest change after a given one that concerns any of these products, or a limit if asked.
select
    rule_change.change_id,
    rule_change.changed_at,
    rule_change.actor
from retail.rule_change
inner join retail.changed_rule on rule_change.change_id = changed_rule.change_id
where
    rule_change.change_id > %(seen)s
    and (
        changed_rule.stock_code = any(%(stock_codes)s)
        or retail.canonical_stock_code(changed_rule.was ->> 'beside') = any(%(stock_codes)s)
        or retail.canonical_stock_code(changed_rule.is_now ->> 'beside') = any(%(stock_codes)s)
        or (%(limits)s and changed_rule.rule = 'list_limit')
    )
order by rule_change.change_id desc
limit 1
