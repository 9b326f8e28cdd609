-- Credit follows when lists were really live, and when purchases were really made.
--
-- Migration 0009 took the newest loaded line for the present. A shop that loads its invoices once a day is hours ahead
-- of that: lists that were live from 08:00 to 18:00 answered nothing. Now each period says which clock decides:
--
-- - wall: the shop trades in real time. The lists answer purchases from the moment at which they went live until the
--   next lists did, on the shop's clock, whatever was loaded by then. Purchases before as_of are never answered.
-- - invoices: past days are replayed (a demo, a backfill, a drill). Nobody saw these lists on those days, so the shop's
--   clock is that of the loaded invoices, as in migration 0009.
--
-- What a period answers depends on nothing that is loaded after it began.

alter table ml.live_period
add column clock text not null default 'invoices' check (clock in ('invoices', 'wall')),
-- as known at the period's beginning; null in periods that began before this migration
add column timezone text,
add column newest_invoice timestamp,
-- the shop's clock: where the period before it stops answering; null: at answers_from
add column took_over_at timestamp;

-- What these periods answer stays. The next one goes by the wall clock if the newest of these ran in real time.
update ml.live_period set clock = 'wall'
where abs(extract(epoch from answers_from - (began_at at time zone 'UTC'))) <= 7 * 24 * 3600;

-- The shop's local time at an instant. It never goes back: in autumn an hour of local times comes twice, and until that
-- hour is over for the second time, the clock stands at its end. So no purchase of that hour is credited to lists that
-- may have come after it.
create function ml.shop_clock(instant timestamptz, zone text) returns timestamp
language sql
stable
as $$
    select greatest(instant at time zone zone, max(an_earlier_minute at time zone zone) + interval '1 minute')
    from generate_series(
        date_trunc('minute', instant) - interval '3 hours',
        date_trunc('minute', instant) - interval '1 minute',
        interval '1 minute'
    ) as an_earlier_minute
$$;

-- Notes that a publication is live from now on; called as before.
--
-- A period goes by the wall clock if the newest invoice was at most seven days away from the shop's local time when it
-- began, or if the period before it did. A shop that trades in real time never goes back to replaying: a feed that is
-- stuck for weeks does not change whom the purchases belong to.
--
-- If the wall clock was set back, the newest record counts: the new period takes over from the time that the clock
-- shows now, and periods that began later on the clock lose what follows.
create or replace function ml.begin_live_period(what bigint, how text, since timestamptz) returns void
language plpgsql
as $$
declare
    zone text := coalesce(nullif(current_setting('ncf.shop_timezone', true), ''), 'UTC');
    known_until timestamp;
    open_period ml.live_period;
    newest timestamp;
    local_time timestamp;
    after_invoices timestamp;
    replayed_from timestamp;
    live_from timestamp;
begin
    lock table ml.live_period in share row exclusive mode;
    select * into open_period from ml.live_period where ended_at is null;
    if open_period.number = what then
        return;
    end if;
    select as_of into strict known_until from ml.publication where number = what;
    select max(invoice_date) into newest from retail.invoice_line;
    begin
        local_time := ml.shop_clock(since, zone);
    exception when invalid_parameter_value then
        -- The lists are live by now, so this must not fail.
        raise warning 'This Postgres does not know the time zone %. The shop''s clock is taken to be UTC.', zone;
        zone := 'UTC';
        local_time := ml.shop_clock(since, zone);
    end;

    -- As migration 0009 did it.
    if how = 'flip' or known_until < open_period.answers_from then
        after_invoices := date_trunc('second', newest) + interval '1 second';
    end if;
    replayed_from := greatest(known_until, after_invoices, open_period.answers_from);
    live_from := greatest(known_until, local_time);

    update ml.live_period set ended_at = greatest(since, began_at) where ended_at is null;
    if open_period.clock = 'wall' or abs(extract(epoch from newest - local_time)) <= 7 * 24 * 3600 then
        insert into ml.live_period (
            number, began_by, began_at, answers_from, clock, timezone, newest_invoice, took_over_at
        )
        values (
            what, how, since, live_from, 'wall', zone, newest,
            case when open_period.clock = 'wall' then local_time else least(replayed_from, live_from) end
        );
    else
        insert into ml.live_period (
            number, began_by, began_at, answers_from, clock, timezone, newest_invoice, took_over_at
        )
        values (
            what, how, greatest(since, open_period.began_at), replayed_from, 'invoices', zone, newest, replayed_from
        );
    end if;
end
$$;
