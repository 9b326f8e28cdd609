delete from retail.rule_preview
where
    ended_at < now() - make_interval(days => %(days)s)
    and state in ('failed', 'saved', 'dropped')
returning preview_id
