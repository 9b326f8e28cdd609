-- How many lines a batch's files have, and how many are stored, as the statistics know (-1 before the first ones).
select
    coalesce(sum(lines_read), 0)::bigint as landed,
    (select reltuples::bigint from pg_class where oid = 'retail.invoice_line'::regclass) as stored
from raw.batch_file
where batch_id = %(batch_id)s
