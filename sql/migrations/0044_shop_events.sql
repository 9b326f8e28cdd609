-- What visitors looked at, put into a basket or onto a wish list, if the shop tells it. No list is made of it.

create type retail.event_kind as enum ('view', 'cart', 'wish');

create table retail.shop_event (
    -- an instant, because a web shop's servers have clocks with a zone; invoices have the shop's own clock
    happened_at timestamptz not null,
    kind retail.event_kind not null,
    stock_code text not null check (stock_code = retail.canonical_stock_code(stock_code)),
    -- null for a visitor without a login
    customer_id text check (customer_id <> ''),
    -- the first half of the SHA-256 of the session's id: the id itself may open somebody's basket
    session bytea check (length(session) = 16),
    constraint an_event_has_a_visitor check (num_nonnulls(customer_id, session) > 0)
);
comment on table retail.shop_event is 'What visitors viewed, put into a basket or wished. The same event twice is one.';

-- The same visitor, product, kind and instant are one event, however often it comes. Also serves periods of time.
create unique index shop_event_once on retail.shop_event (
    happened_at, stock_code, kind, (coalesce(customer_id, '')), (coalesce(session, ''::bytea))
);
create index shop_event_of_customer on retail.shop_event (customer_id, happened_at)
where customer_id is not null;
create index shop_event_of_session on retail.shop_event (session, happened_at)
where customer_id is null;

create table raw.quarantined_event (
    quarantined_event_id bigint generated always as identity primary key,
    -- stream; SHA-256 of a file; or hour, for all events of a visitor in an hour that had too many
    source text not null,
    -- the id in the stream, the row in the file, or the hour and the visitor
    entry text not null,
    -- kind, stock_code, customer_id, session (only its hash) and at, as far as they were given; long texts are cut
    original jsonb not null,
    reason text not null,
    -- how many it stands for: more than one only for an hour, whose events are counted and not kept
    events bigint not null default 1 check (events > 0),
    quarantined_at timestamptz not null default now(),
    constraint an_event_is_set_aside_once unique (source, entry)
);
comment on table raw.quarantined_event is 'Events that could not be used, with the reason.';
create index quarantined_event_by_age on raw.quarantined_event (quarantined_at);
create index quarantined_event_by_reason on raw.quarantined_event (reason);
