-- Discards lines that need not wait: a person discarded the same line before, or it is also in another file or sheet
-- of the batch, or it corrects a line that is already settled.

with discarded as (
    select
        invoice_no,
        original,
        max(batch_id) as batch_id
    from raw.quarantined_line
    where
        batch_id < %(batch_id)s
        and state = 'discarded'
        and resolved_by is null
    group by
        invoice_no,
        original
)

update raw.quarantined_line
set
    state = 'discarded',
    resolved_at = now(),
    note = settled.note
from (
    select
        again.quarantine_id,
        'discarded before, in batch ' || discarded.batch_id as note
    from raw.quarantined_line as again
    inner join discarded
        on
            again.original = discarded.original
            and again.invoice_no is not distinct from discarded.invoice_no
    where again.batch_id = %(batch_id)s
    union all
    select
        quarantine_id,
        'the same line is in another file of the batch' as note
    from (
        select
            quarantine_id,
            row_number() over (
                partition by
                    invoice_no,
                    original,
                    occurrence
                order by line_number asc
            ) as copy
        from (
            select
                quarantine_id,
                invoice_no,
                original,
                line_number,
                row_number() over (
                    partition by
                        file_number,
                        sheet_number,
                        invoice_no,
                        original
                    order by line_number asc
                ) as occurrence
            from raw.quarantined_line
            where
                batch_id = %(batch_id)s
                and corrects is null
        ) as numbered
    ) as counted
    where copy > 1
    union all
    select
        again.quarantine_id,
        'line ' || settled.quarantine_id || ' in quarantine is settled already' as note
    from raw.quarantined_line as again
    inner join raw.quarantined_line as settled on again.corrects = settled.quarantine_id
    where
        again.batch_id = %(batch_id)s
        and settled.state <> 'waiting'
) as settled
where quarantined_line.quarantine_id = settled.quarantine_id
