update ops.announcement
set post = 'posted'
where announcement_id = %(announcement_id)s
