-- Events beyond their time, and what has waited in quarantine for too long.
delete from retail.shop_event
where happened_at < %(now)s - make_interval(days => %(days)s);

delete from raw.quarantined_event
where quarantined_at < now() - make_interval(days => %(quarantine_days)s)
