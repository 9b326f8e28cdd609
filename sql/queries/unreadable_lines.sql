-- Up to five unusable landed lines of a batch that is about to be rejected.
select
    batch_file.name as file,
    landed_line.row_number,
    raw.cells_of(landed_line) as original
from raw.landed_line
inner join raw.batch_file
    on
        landed_line.batch_id = batch_file.batch_id
        and landed_line.file_number = batch_file.file_number
where
    landed_line.batch_id = %(batch_id)s
    and landed_line.left_out is null
    and (
        landed_line.unreadable is not null
        or landed_line.invoice_no is null
        or landed_line.stock_code is null
        or landed_line.quantity is null
        or landed_line.invoice_date is null
        or landed_line.unit_price is null
    )
order by landed_line.line_number asc
limit 5
