update ml.publication
set report = %(report)s
where number = %(number)s
