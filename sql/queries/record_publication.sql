update ml.publication
set
    state = 'published',
    published_at = %(published_at)s
where number = %(number)s
returning number
