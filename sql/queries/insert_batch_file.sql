insert into raw.batch_file (
    batch_id,
    file_number,
    name,
    location,
    sha256,
    bytes,
    lines_read,
    sheets,
    ignored_columns,
    note,
    mapping,
    mapping_sha256
)
values (
    %(batch_id)s,
    %(file_number)s,
    %(name)s,
    %(location)s,
    %(sha256)s,
    %(bytes)s,
    %(lines_read)s,
    %(sheets)s,
    %(ignored_columns)s,
    %(note)s,
    %(mapping)s,
    %(mapping_sha256)s
)
