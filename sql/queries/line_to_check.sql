-- Whether a batch has lines that count, and lines that do not.
select
    exists(
        select
        from raw.line_to_check
        where batch_id = %(batch_id)s
    ) as counts,
    exists(
        select
        from raw.landed_line
        where
            batch_id = %(batch_id)s
            and left_out is not null
    ) as leaves_out
