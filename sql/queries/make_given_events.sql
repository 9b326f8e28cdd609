-- Where events lie while they are landed.
create temporary table given_event (
    entry text not null,
    kind retail.event_kind not null,
    stock_code text not null,
    customer_id text,
    session bytea,
    happened_at timestamptz not null
) on commit drop;

create temporary table new_event (
    customer_id text,
    session bytea,
    hour timestamptz not null
) on commit drop;

create temporary table crowd (
    customer_id text,
    session bytea,
    hour timestamptz not null,
    events bigint not null
) on commit drop;

create temporary table aside (
    reason text not null,
    events bigint not null
) on commit drop
