-- Customers who were erased. Who they were cannot be told from it: that an old file brings nobody back is known by a
-- hash with a key that is not in this database (docs/adr/0003-erasure.md).
create table retail.erasure (
    erasure_id bigint generated always as identity primary key,
    -- HMAC-SHA256 of the customer's id
    customer_hash text not null,
    -- of a fixed text, so that another key is noticed
    key_check text not null,
    -- by the shop's clock: lines from before it are a guest's, whenever they come; who buys later is a new customer
    until timestamp not null,
    -- whether so few others bought in their country that it would have told them apart
    without_country boolean not null,
    state text not null default 'open' check (state in ('open', 'done')),
    -- a person, or what triggered the run
    requested_by text not null,
    -- what was found, by place
    report jsonb,
    requested_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint only_what_is_done_has_an_end check ((state = 'done') = (finished_at is not null))
);

create index erasure_by_customer on retail.erasure (customer_hash);
create unique index one_open_erasure on retail.erasure (customer_hash) where state = 'open';

-- A line as far as the hash of its invoice knows it.
create function retail.line_content(
    stock_code text,
    description text,
    quantity integer,
    invoice_date timestamp,
    unit_price numeric,
    customer_id bigint,
    country text
) returns text
language sql stable parallel safe
return concat_ws(
    e'\x1f',
    stock_code,
    coalesce(description, e'\x1e'),
    quantity,
    extract(epoch from invoice_date),
    unit_price,
    coalesce(customer_id, 0),
    coalesce(country, e'\x1e')
);

-- Two snapshots may become equal when a customer is taken out of the older one.
alter table ml.snapshot
drop constraint snapshot_cutoff_sha256_key,
-- customers who were taken out of it since it was frozen; sha256 is of what it holds now
add column erasures integer not null default 0;

create index snapshot_by_content on ml.snapshot (cutoff, sha256);
