insert into raw.batch (
    source,
    sha256,
    status,
    lines_read,
    lines_unchanged,
    lines_quarantined,
    lines_left_out,
    left_out,
    same_as,
    reason,
    rules_sha256,
    report,
    validated_at,
    quarantined_at,
    finished_at
)
select
    %(source)s as source,
    sha256,
    'merged' as status,
    lines_read,
    lines_merged + lines_unchanged as lines_unchanged,
    lines_quarantined,
    lines_left_out,
    left_out,
    batch_id as same_as,
    %(reason)s as reason,
    rules_sha256,
    report,
    now() as validated_at,
    now() as quarantined_at,
    now() as finished_at
from raw.batch
where batch_id = %(same_as)s
returning batch_id
