-- As `record_publication`, for one that the registry still calls open. A trigger begins the live period.
select set_config('ncf.shop_timezone', %(timezone)s, true);

update ml.publication
set
    state = 'published',
    published_at = %(published_at)s
where number = %(number)s and state = 'open'
returning number
