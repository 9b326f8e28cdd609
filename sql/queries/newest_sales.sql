-- The first instant that the newest lists do not know, and the newest batch: what changes when invoices were loaded.
select
    (
        select max(as_of)
        from ml.publication
        where state = 'published'
    ) as as_of,
    (
        select coalesce(max(batch_id), 0)
        from raw.batch
        where status = 'merged'
    ) as batch_id
