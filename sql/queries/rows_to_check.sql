-- The rows that wait to be checked, and how many of them a transaction wrote.
select
    count(*) as there,
    count(*) filter (where checked.written_by = %(transaction)s) as mine
from (
    select xmin::text as written_by from ml.checked_list
    union all
    select xmin::text as written_by from ml.checked_product
) as checked
