copy raw.landed_line (
    batch_id,
    line_number,
    file_number,
    sheet_number,
    row_number,
    invoice_no,
    stock_code,
    description,
    quantity,
    invoice_date,
    unit_price,
    customer_id,
    country,
    unreadable,
    original,
    corrects,
    left_out,
    takes_back
)
from stdin with (format csv)
