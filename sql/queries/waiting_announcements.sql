-- How many are not told yet, and since when.
select
    count(*) as waiting,
    min(announced_at) as since,
    count(*) filter (where streamed_at is null) as not_streamed
from ops.announcement
where (streamed_at is null or post = 'waiting')
