-- Up to five lines of a batch for each rule that it broke.
select
    rule_id,
    file,
    row_number,
    original
from (
    select
        rule_id,
        batch_file.name as file,
        quarantined_line.row_number,
        quarantined_line.original,
        row_number() over (
            partition by rule_id
            order by quarantined_line.line_number asc
        ) as example
    from raw.quarantined_line
    inner join raw.batch_file
        on
            quarantined_line.batch_id = batch_file.batch_id
            and quarantined_line.file_number = batch_file.file_number
    cross join lateral unnest(quarantined_line.rule_ids) as rule_id
    where quarantined_line.batch_id = %(batch_id)s
) as numbered
where example <= 5
order by
    rule_id asc,
    example asc
