update ml.publication
set
    state = 'refused',
    reason = %(reason)s
where number = %(number)s
