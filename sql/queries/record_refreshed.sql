update ml.publication
set refreshed = %(refreshed)s
where number = %(number)s
