-- Broken lines that a person has corrected before, and that are read again as they were, are read as corrected: a file
-- that is sent again takes no correction back.
update raw.landed_line
set
    invoice_no = known.corrected ->> 'invoice_no',
    stock_code = known.corrected ->> 'stock_code',
    description = known.corrected ->> 'description',
    quantity = (known.corrected ->> 'quantity')::integer,
    invoice_date = (known.corrected ->> 'invoice_date')::timestamp,
    unit_price = (known.corrected ->> 'unit_price')::numeric,
    customer_id = (known.corrected ->> 'customer_id')::bigint,
    country = known.corrected ->> 'country',
    unreadable = null,
    original = null
from (
    -- the newest correction of each
    select distinct on (quarantined_line.invoice_no, original)
        original,
        corrected,
        coalesce(invoice_no, '') as invoice_no
    from raw.quarantined_line
    where state = 'released'
    order by
        quarantined_line.invoice_no asc,
        original asc,
        resolved_at desc
) as known
where
    landed_line.batch_id = %(batch_id)s
    and landed_line.corrects is null
    and coalesce(landed_line.invoice_no, '') = known.invoice_no
    and raw.cells_of(landed_line) = known.original
