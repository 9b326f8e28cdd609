update ops.announcement
set streamed_at = now()
where announcement_id = any(%(ids)s)
