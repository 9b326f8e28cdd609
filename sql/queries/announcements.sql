select
    announcement_id,
    kind,
    announced_at,
    details,
    streamed_at,
    post,
    posts_failed
from ops.announcement
order by announcement_id desc
limit %(most)s
