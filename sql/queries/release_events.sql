-- Events that waited for a product which is known by now: they are landed again, with the others of given_event.
with known_code as materialized (
    select waiting.stock_code
    from (
        select distinct original ->> 'stock_code' as stock_code
        from raw.quarantined_event
        where reason = 'unknown product'
    ) as waiting
    where
        exists (
            select
            from retail.known_product
            where known_product.stock_code = waiting.stock_code
        )
),

released as (
    delete from raw.quarantined_event
    using known_code
    where
        quarantined_event.reason = 'unknown product'
        and quarantined_event.original ->> 'stock_code' = known_code.stock_code
        and quarantined_event.original ?| array['customer_id', 'session']
    returning quarantined_event.entry, quarantined_event.original
),

given as (
    insert into given_event (entry, kind, stock_code, customer_id, session, happened_at)
    select
        entry,
        (original ->> 'kind')::retail.event_kind as kind,
        original ->> 'stock_code' as stock_code,
        original ->> 'customer_id' as customer_id,
        decode(original ->> 'session', 'hex') as session,
        (original ->> 'at')::timestamptz as happened_at
    from released
    returning entry
)

select count(*) as released
from given
