-- Lands the events of given_event. What is of an unknown product, or of a visitor with too many events in an hour, goes
-- to quarantine.
analyze given_event;

with unknown_code as materialized (
    select given.stock_code
    from (
        select distinct stock_code
        from given_event
    ) as given
    where
        not exists (
            select
            from retail.known_product
            where known_product.stock_code = given.stock_code
        )
),

unknown_event as (
    delete from given_event
    using unknown_code
    where given_event.stock_code = unknown_code.stock_code
    returning given_event.*
),

stored as (
    insert into raw.quarantined_event (source, entry, original, reason)
    select
        %(source)s as source,
        entry,
        jsonb_strip_nulls(
            jsonb_build_object(
                'kind', kind,
                'stock_code', stock_code,
                'customer_id', customer_id,
                'session', encode(session, 'hex'),
                'at', happened_at
            )
        ) as original,
        'unknown product' as reason
    from unknown_event
    on conflict (source, entry) do nothing
)

insert into aside (reason, events)
select
    'unknown product' as reason,
    count(*) as events
from unknown_event;

-- of visitors whose hour was set aside before
with late as (
    delete from given_event
    using raw.quarantined_event
    where
        quarantined_event.source = 'hour'
        and quarantined_event.entry = to_char(given_event.happened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24"Z" ')
        || coalesce(given_event.customer_id, encode(given_event.session, 'hex'))
    returning quarantined_event.quarantined_event_id
),

counted as (
    update raw.quarantined_event
    set events = quarantined_event.events + more.events
    from (
        select
            quarantined_event_id,
            count(*) as events
        from late
        group by quarantined_event_id
    ) as more
    where quarantined_event.quarantined_event_id = more.quarantined_event_id
)

insert into aside (reason, events)
select
    'too many in an hour' as reason,
    count(*) as events
from late;

with inserted as (
    insert into retail.shop_event (happened_at, kind, stock_code, customer_id, session)
    select
        happened_at,
        kind,
        stock_code,
        customer_id,
        session
    from given_event
    on conflict do nothing
    returning customer_id, session, happened_at
)

insert into new_event (customer_id, session, hour)
select
    customer_id,
    case when customer_id is null then session end as session,
    date_trunc('hour', happened_at, 'UTC') as hour
from inserted;

with visited as (
    select distinct
        customer_id,
        session,
        hour
    from new_event
),

theirs as (
    select visited.*
    from visited
    inner join retail.shop_event
        on
            visited.customer_id = shop_event.customer_id
            and visited.hour <= shop_event.happened_at
            and visited.hour + interval '1 hour' > shop_event.happened_at
    union all
    select visited.*
    from visited
    inner join retail.shop_event
        on
            visited.session = shop_event.session
            and visited.hour <= shop_event.happened_at
            and visited.hour + interval '1 hour' > shop_event.happened_at
    where
        visited.customer_id is null
        and shop_event.customer_id is null
)

insert into crowd (customer_id, session, hour, events)
select
    customer_id,
    session,
    hour,
    count(*) as events
from theirs
group by
    customer_id,
    session,
    hour
having count(*) > %(most)s;

delete from retail.shop_event
using crowd
where
    (
        shop_event.customer_id = crowd.customer_id
        or (
            shop_event.customer_id is null
            and shop_event.session = crowd.session
        )
    )
    and shop_event.happened_at >= crowd.hour
    and shop_event.happened_at < crowd.hour + interval '1 hour';

insert into raw.quarantined_event (source, entry, original, reason, events)
select
    'hour' as source,
    to_char(hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24"Z" ') || coalesce(customer_id, encode(session, 'hex')) as entry,
    jsonb_strip_nulls(
        jsonb_build_object('customer_id', customer_id, 'session', encode(session, 'hex'), 'at', hour)
    ) as original,
    'too many in an hour' as reason,
    events
from crowd;

insert into aside (reason, events)
select
    'too many in an hour' as reason,
    count(*) as events
from new_event
inner join crowd
    on
        new_event.hour = crowd.hour
        and new_event.customer_id is not distinct from crowd.customer_id
        and new_event.session is not distinct from crowd.session;

select
    reason,
    sum(events)::bigint as events
from aside
where events > 0
group by reason
union all
select
    'added' as reason,
    count(*) as events
from new_event
left join crowd
    on
        new_event.hour = crowd.hour
        and new_event.customer_id is not distinct from crowd.customer_id
        and new_event.session is not distinct from crowd.session
where crowd.hour is null
