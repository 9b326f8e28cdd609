-- The first lines of a batch, as text.
select
    batch_file.name as file,
    landed_line.row_number,
    landed_line.invoice_no,
    landed_line.stock_code,
    landed_line.description,
    landed_line.country,
    landed_line.left_out,
    landed_line.quantity::text as quantity,
    landed_line.customer_id,
    to_char(landed_line.invoice_date, 'YYYY-MM-DD HH24:MI:SS') as invoice_date,
    trim_scale(landed_line.unit_price)::text as unit_price,
    coalesce(landed_line.unreadable, '{}') as unreadable
from raw.landed_line
inner join raw.batch_file
    on
        landed_line.batch_id = batch_file.batch_id
        and landed_line.file_number = batch_file.file_number
where landed_line.batch_id = %(batch_id)s
order by landed_line.line_number asc
limit %(most)s
