-- Products that are hidden at once. Redis has a copy (ncf:hidden) that every reader takes out; the rules of
-- retail.unlisted_product count from the next publication on.

create table retail.hidden_product (
    hidden_id bigint generated always as identity primary key,
    stock_code text not null check (stock_code <> ''),
    country text check (country <> ''),
    until timestamptz,
    why text,
    hidden_at timestamptz not null default now(),
    hidden_by text not null,
    shown_at timestamptz,
    shown_by text,
    constraint a_product_is_hidden_until_later check (until > hidden_at),
    constraint who_shows_it_again_is_known check ((shown_at is null) = (shown_by is null))
);
create unique index hidden_product_once on retail.hidden_product (stock_code, coalesce(country, ''))
where shown_at is null;
comment on table retail.hidden_product is
'Products that are hidden at once, and were: who hid each, when, and who shows it again. `ncf-pipeline hide` writes '
'it.';
comment on column retail.hidden_product.stock_code is 'In canonical spelling.';
comment on column retail.hidden_product.country is
'Hidden from customers of this country only, as it is written on invoices; empty: from everybody.';
comment on column retail.hidden_product.until is
'The first instant at which lists may show it again; empty: not before somebody says so.';
comment on column retail.hidden_product.shown_at is
'When somebody ended it, or hid it anew; empty: nobody did.';
