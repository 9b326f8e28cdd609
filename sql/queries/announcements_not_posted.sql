-- No webhook is set: one that is set later does not get what happened before.
update ops.announcement
set post = 'not asked for'
where post = 'waiting'
