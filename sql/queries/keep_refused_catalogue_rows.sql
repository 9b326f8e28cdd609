insert into retail.refused_catalogue_row (load_id, place, sheet, row_number, stock_code, problems, cells)
select
    %(load_id)s as load_id,
    (refused.row_json ->> 'place')::integer as place,
    refused.row_json ->> 'sheet' as sheet,
    (refused.row_json ->> 'row')::bigint as row_number,
    refused.row_json ->> 'stock_code' as stock_code,
    array(select jsonb_array_elements_text(refused.row_json -> 'problems')) as problems,
    refused.row_json -> 'cells' as cells
from jsonb_array_elements(%(rows)s::jsonb) as refused (row_json)
