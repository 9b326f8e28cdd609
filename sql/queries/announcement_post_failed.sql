-- The next try is 1, 2, 4 ... minutes later, and at most an hour. After some days it is given up.
update ops.announcement
set
    posts_failed = posts_failed + 1,
    next_post_at = now() + least(interval '1 minute' * power(2, least(posts_failed, 6)), interval '1 hour'),
    post = case
        when announced_at < now() - interval '1 day' * %(days)s then 'given up'
        else post
    end
where announcement_id = %(announcement_id)s
returning post = 'given up' as is_given_up
