-- lines that a person has looked at and discarded before, and that came again as they were
update raw.quarantined_line
set
    state = 'discarded',
    resolved_at = now(),
    note = 'discarded before, in batch ' || earlier.batch_id
from raw.quarantined_line as earlier
where
    quarantined_line.batch_id = %(batch_id)s
    and earlier.batch_id < %(batch_id)s
    and earlier.state = 'discarded'
    and earlier.resolved_by is null
    and earlier.invoice_no is not distinct from quarantined_line.invoice_no
    and earlier.original = quarantined_line.original
