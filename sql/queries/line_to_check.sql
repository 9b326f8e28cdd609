-- Whether a batch has lines that count.
select
where exists (
    select
    from raw.line_to_check
    where batch_id = %(batch_id)s
)
