-- What other systems are told of: what is live, what is hidden, what broke. A trigger writes each row with the change
-- itself, so nothing that was committed goes untold, whoever changed it and wherever a process was killed.

create table ops.announcement (
    announcement_id bigint generated always as identity primary key,
    kind text not null check (kind in ('publication', 'rollback', 'hidden', 'shown', 'alert', 'alert_over')),
    announced_at timestamptz not null default now(),
    details jsonb not null,
    -- when it went into the Redis stream
    streamed_at timestamptz,
    -- a webhook's part: waiting, then posted, not asked for (none was set) or given up
    post text not null default 'waiting' check (post in ('waiting', 'posted', 'not asked for', 'given up')),
    posts_failed integer not null default 0,
    next_post_at timestamptz not null default now()
);
create index announcement_to_tell on ops.announcement (announcement_id)
where streamed_at is null or post = 'waiting';
create index announcement_by_age on ops.announcement (announced_at);
comment on table ops.announcement is
'Changes that other systems are told of, by a Redis stream and a webhook. It names no customer.';

create function ops.announce_live_period() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.announcement (kind, details)
    select
        case new.began_by when 'flip' then 'rollback' else 'publication' end,
        jsonb_build_object(
            'publication', 'p' || lpad(number::text, greatest(6, length(number::text)), '0'),
            'version', 'v' || version,
            'as_of', to_char(as_of, 'YYYY-MM-DD"T"HH24:MI:SS'),
            'customers', customers,
            'products', products
        )
    from ml.publication where number = new.number;
    return null;
end
$$;
create trigger announce after insert on ml.live_period
for each row execute function ops.announce_live_period();

create function ops.announce_hidden_product() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.announcement (kind, details)
    values (
        case tg_op when 'INSERT' then 'hidden' else 'shown' end,
        jsonb_build_object(
            'stock_code', new.stock_code,
            'country', new.country,
            'until', case tg_op when 'INSERT' then to_char(new.until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') end
        )
    );
    return null;
end
$$;
create trigger announce_hidden after insert on retail.hidden_product
for each row execute function ops.announce_hidden_product();
create trigger announce_shown after update of shown_at on retail.hidden_product
for each row when (old.shown_at is null and new.shown_at is not null)
execute function ops.announce_hidden_product();

-- Without title and text: those may hold names.
create function ops.announce_incident() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.announcement (kind, details)
    values (
        case tg_op when 'INSERT' then 'alert' else 'alert_over' end,
        jsonb_build_object('incident', new.incident_id, 'alert', new.kind, 'severity', new.severity)
    );
    return null;
end
$$;
create trigger announce_open after insert on ops.incident
for each row execute function ops.announce_incident();
create trigger announce_over after update of closed_at on ops.incident
for each row when (old.closed_at is null and new.closed_at is not null)
execute function ops.announce_incident();

revoke execute on function ops.announce_live_period, ops.announce_hidden_product, ops.announce_incident from public;
