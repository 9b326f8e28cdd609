-- unfinished batches whose files are read again by another mapping: their lines no longer count
with replaced as (
    update raw.batch
    set
        status = 'rejected',
        reason = 'the mapping of its files has changed since they were landed: they are read again',
        finished_at = now()
    where
        batch_id = any(%(batch_ids)s)
        and status = 'landed'
    returning batch_id
),

settled as (
    update raw.quarantined_line
    set
        state = 'discarded',
        resolved_at = now(),
        resolved_by = replaced.batch_id, -- not by a person, so the same line may wait again
        note = 'its file is read again by another mapping'
    from replaced
    where
        quarantined_line.batch_id = replaced.batch_id
        and quarantined_line.state = 'waiting'
    returning quarantined_line.quarantine_id
)

select
    replaced.batch_id,
    (select count(*) from settled) as lines_settled
from replaced
