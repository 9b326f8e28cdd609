-- Applies earlier corrections to broken lines that are read again, so that a file that is sent again undoes no
-- correction.
with recursive released as (
    select
        quarantine_id,
        invoice_no,
        original,
        corrects,
        corrected,
        resolved_at
    from raw.quarantined_line
    where state = 'released'
    union all
    -- if a line took several tries, its correction also applies to the earlier ones, back to the line that was sent
    select
        earlier.quarantine_id,
        earlier.invoice_no,
        earlier.original,
        earlier.corrects,
        released.corrected,
        released.resolved_at
    from released
    inner join raw.quarantined_line as earlier on released.corrects = earlier.quarantine_id
),

-- the newest correction of each line
known as (
    select distinct on (invoice_no, original)
        invoice_no,
        original,
        corrected
    from released
    order by
        invoice_no asc,
        original asc,
        resolved_at desc
)

update raw.landed_line
set
    invoice_no = known.corrected ->> 'invoice_no',
    stock_code = known.corrected ->> 'stock_code',
    description = known.corrected ->> 'description',
    quantity = (known.corrected ->> 'quantity')::numeric,
    invoice_date = (known.corrected ->> 'invoice_date')::timestamp,
    unit_price = (known.corrected ->> 'unit_price')::numeric,
    customer_id = known.corrected ->> 'customer_id',
    country = known.corrected ->> 'country',
    unreadable = null,
    original = null
from known
where
    landed_line.batch_id = %(batch_id)s
    and landed_line.corrects is null
    and landed_line.left_out is null
    and coalesce(landed_line.invoice_no, '') = coalesce(known.invoice_no, '')
    and raw.cells_of(landed_line) = known.original
