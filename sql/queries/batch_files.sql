select
    name,
    note,
    ignored_columns
from raw.batch_file
where batch_id = %(batch_id)s
order by file_number asc
