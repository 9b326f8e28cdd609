insert into retail.rule_preview (change, asked_by, reason, seen)
values (%(change)s, %(asked_by)s, %(reason)s, %(seen)s)
returning preview_id
