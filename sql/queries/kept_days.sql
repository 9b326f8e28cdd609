-- What `trend_days` found when lists were made that know sales before this instant.
select
    day,
    lines
from retail.day_sold
where as_of = %(as_of)s
order by day asc
