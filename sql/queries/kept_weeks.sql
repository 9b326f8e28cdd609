-- What `best_of_weeks` found when lists were made that know sales before this instant.
select
    week,
    stock_codes
from retail.week_sold
where as_of = %(as_of)s
order by week asc
