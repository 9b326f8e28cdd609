select
    sheet,
    row_number as row,
    stock_code,
    problems,
    cells
from retail.refused_catalogue_row
where load_id = (select max(load_id) from retail.catalogue_load)
order by place
