-- Every column that could name a customer: those called customer_id, and those of text, arrays of text, or JSON.
select
    columns.table_schema,
    columns.table_name,
    columns.column_name,
    columns.data_type
from information_schema.columns
inner join information_schema.tables
    on
        columns.table_schema = tables.table_schema
        and columns.table_name = tables.table_name
where
    tables.table_type = 'BASE TABLE'
    and columns.table_schema not in ('pg_catalog', 'information_schema')
    and (
        columns.column_name = 'customer_id'
        or columns.data_type in ('text', 'character varying', 'json', 'jsonb')
        or columns.udt_name = '_text'
    )
order by
    columns.table_schema asc,
    columns.table_name asc,
    columns.column_name asc
