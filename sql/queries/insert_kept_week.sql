insert into retail.week_sold (week, stock_codes, as_of)
values (%(week)s, %(stock_codes)s, %(as_of)s)
