-- What a merchandiser decides about lists. All of it counts from the next publication on: `ncf-pipeline refresh`.

create table retail.unlisted_product (
    stock_code text primary key,
    why text not null check (why in ('excluded', 'out of stock', 'discontinued')),
    shown_again_on date,
    note text
);
comment on table retail.unlisted_product is
'Products that no list shows. They stay products: the model learns from their sales. What is no product at all '
'belongs in retail.excluded_stock_code.';
comment on column retail.unlisted_product.stock_code is 'In any case.';
comment on column retail.unlisted_product.shown_again_on is
'The first day on which lists may show it again; empty: not before this row is deleted.';

create table retail.product_country (
    stock_code text,
    country text,
    primary key (stock_code, country)
);
comment on table retail.product_country is
'A product with rows here is shown in these countries only: to customers whose newest invoice is of one, and to '
'its visitors. Lists that are for no country, of products and of *, leave it out.';
comment on column retail.product_country.stock_code is 'In any case.';
comment on column retail.product_country.country is 'As it is written on invoices.';

create table retail.pinned_product (
    pin_id bigint generated always as identity primary key,
    stock_code text not null,
    list_name text not null default 'for_you' check (list_name in ('for_you', 'discover', 'new_arrivals')),
    country text,
    position integer not null default 1 check (position > 0),
    starts_on date not null default current_date,
    ends_on date,
    note text,
    constraint a_pin_ends_after_its_start check (ends_on > starts_on)
);
comment on table retail.pinned_product is
'Products that are put into everybody''s list of a name. One that may not be shown is not; discover leaves out '
'what its customer bought before.';
comment on column retail.pinned_product.stock_code is
'In any case. One that was never sold must have a description in retail.product.';
comment on column retail.pinned_product.list_name is 'for_you is that of customers and that of visitors.';
comment on column retail.pinned_product.country is 'As it is written on invoices; empty: everywhere.';
comment on column retail.pinned_product.position is
'From 1, the top. Of two pins at one place, the older comes first.';
comment on column retail.pinned_product.ends_on is
'The first day on which it is pinned no more; empty: not before this row is deleted.';

create table retail.list_limit (
    is_the_only_row boolean primary key default true check (is_the_only_row),
    max_per_family integer check (max_per_family > 0),
    min_price numeric check (min_price >= 0)
);
comment on table retail.list_limit is 'One row, to be updated.';
comment on column retail.list_limit.max_per_family is
'How many variants of one product, such as 85123A and 85123B, a list shows at most; empty: any number.';
comment on column retail.list_limit.min_price is
'Products whose newest sale was for less a piece are in no list; empty: any price.';
insert into retail.list_limit default values;

create function retail.product_family(code text) returns text
language sql immutable strict parallel safe
return regexp_replace(retail.canonical_stock_code(code), '^([0-9]+)[A-Z]+$', '\1');
comment on function retail.product_family is
'The number in front of the letters: what the variants of a product have in common.';

-- The same rules, looked for in the finished lists.
alter table ml.checked_list
-- products in retail.unlisted_product
add column has_unlisted boolean,
-- products that are not shown in the list's country
add column has_foreign boolean,
-- products below the lowest price
add column has_cheap boolean,
-- products of the largest family
add column family_members integer,
-- a pin is missing that may be shown
add column lacks_pinned boolean;
