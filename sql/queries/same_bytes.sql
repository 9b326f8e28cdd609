-- the merged batch of the same bytes, if reading them again could change nothing: no invoice has changed since, and the
-- rules are the same
select
    batch_id,
    source,
    lines_read,
    lines_merged,
    lines_unchanged,
    lines_quarantined
from raw.batch
where
    sha256 = %(sha256)s
    and rules_sha256 = %(rules_sha256)s
    and status = 'merged'
    and not exists (
        select 1
        from raw.batch as later
        where
            later.batch_id > batch.batch_id
            and (later.lines_merged > 0 or later.lines_replaced > 0)
    )
order by batch_id desc
limit 1
