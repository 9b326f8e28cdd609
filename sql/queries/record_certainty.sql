update ml.publication
set certainty = %(counts)s
where number = %(number)s
returning number
