delete from ops.announcement
where
    announced_at < now() - interval '1 day' * %(days)s
    and streamed_at is not null
    and post <> 'waiting'
