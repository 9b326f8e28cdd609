insert into retail.day_sold (day, lines, as_of)
values (%(day)s, %(lines)s, %(as_of)s)
