-- Where the lines of the last batches went, newest first, and how many of them still wait in quarantine.
select
    batch.batch_id,
    batch.source,
    batch.status,
    batch.lines_read,
    batch.lines_merged,
    batch.lines_unchanged,
    batch.lines_quarantined,
    batch.lines_left_out,
    batch.reason,
    batch.created_at,
    batch.validated_at,
    -- the batch in which the same bytes were validated
    coalesce(batch.same_as, batch.batch_id) as validated_as,
    (
        select count(*)
        from raw.quarantined_line
        where
            quarantined_line.batch_id = batch.batch_id
            and quarantined_line.state = 'waiting'
    ) as lines_waiting
from raw.batch
order by batch.batch_id desc
limit %(count)s
