-- What pages ask, in a shop of any size, without reading every line, publication or report.

-- The newest lines of a product, without the others: within its code, lines are in the order of weeks. Many lines share
-- a code and a week, so that the index is hardly larger than one of codes alone.
drop index retail.invoice_line_by_product;
create index invoice_line_by_product
on retail.invoice_line (retail.canonical_stock_code(stock_code), date_trunc('week', invoice_date));
-- Which countries there are, by steps from one to the next.
create index invoice_line_by_country on retail.invoice_line (country);

-- A bulk load makes them anew.
create or replace function retail.set_lookups_aside() returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    lock table retail.invoice_line in access exclusive mode nowait;
    drop index if exists
    retail.invoice_line_by_product, retail.invoice_line_by_customer, retail.invoice_line_by_country;
    return true;
exception
    when lock_not_available then return false;
end
$$;

create or replace function retail.bring_lookups_back() returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    create index if not exists invoice_line_by_product
    on retail.invoice_line (retail.canonical_stock_code(stock_code), date_trunc('week', invoice_date));
    create index if not exists invoice_line_by_customer
    on retail.invoice_line (customer_id)
    where customer_id is not null;
    create index if not exists invoice_line_by_country
    on retail.invoice_line (country);
end
$$;

create index publication_by_version on ml.publication (version, number);
create index publication_by_as_of on ml.publication (as_of)
where state = 'published';
create index live_period_by_publication on ml.live_period (number);
create index drift_report_by_time on ml.drift_report (bought_until);
create index drift_report_by_publication on ml.drift_report (((figures ->> 'publication')::bigint));
create index draft_by_publication on ml.draft (publication);
create index model_event_by_version on ml.model_event (version, event_id);
create index batch_by_day on raw.batch (((created_at at time zone 'UTC')::date));

-- What sold before the newest lists, added up when they were published: no page has to read all lines for it.
create table retail.week_sold (
    -- its Monday
    week date primary key,
    -- the products with the highest takings, best first
    stock_codes text[] not null,
    -- of the lists: what sold later does not count
    as_of timestamp not null
);
create table retail.day_sold (
    day date primary key,
    -- invoice lines, on the shop's clock
    lines bigint not null,
    as_of timestamp not null
);
