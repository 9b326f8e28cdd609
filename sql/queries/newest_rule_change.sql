select coalesce(max(change_id), 0) as change_id
from retail.rule_change
