select retail.undo_rule_change(%(change_id)s)
