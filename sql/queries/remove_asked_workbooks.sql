-- A workbook is not searched: whoever sent it sends it again, without the erased customer.
update raw.quarantine_request
set
    state = 'failed',
    error = 'A customer was erased meanwhile. Download the workbook and send it again.',
    ended_at = now(),
    workbook = null
where workbook is not null
