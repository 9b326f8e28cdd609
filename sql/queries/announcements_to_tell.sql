-- What is not told yet, the oldest first. Whoever asks holds the lock, so nobody else tells it.
select
    announcement_id,
    kind,
    announced_at,
    details,
    next_post_at,
    streamed_at is not null as streamed,
    post = 'waiting' as waits
from ops.announcement
where streamed_at is null or post = 'waiting'
order by announcement_id
limit %(most)s
