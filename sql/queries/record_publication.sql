-- A trigger begins the live period, in this time zone.
select set_config('ncf.shop_timezone', %(timezone)s, true);

update ml.publication
set
    state = 'published',
    published_at = %(published_at)s
where number = %(number)s
returning number
