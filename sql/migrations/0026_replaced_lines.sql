-- What a batch did to invoices that were stored before it. The arrays name the first of them.
alter table raw.batch
-- invoices whose earlier lines were replaced or taken back
add column invoices_replaced bigint not null default 0,
-- replaced lines for whose product the new load of their invoice has no line
add column lines_lost bigint not null default 0,
add column lost_invoices text[],
-- stored invoices that are without a line of their new load, because it waits in quarantine
add column invoices_incomplete bigint not null default 0,
add column incomplete_invoices text[];

alter table retail.excluded_stock_code
-- came with the software: nobody has to be told that it matches no code of the shop
add column is_shipped boolean not null default false;

update retail.excluded_stock_code
set is_shipped = true
where (pattern, reason) in (
    ('POST', 'postage'),
    ('DOT', 'postage of the web shop'),
    ('C2', 'carriage'),
    ('M', 'entered by hand'),
    ('D', 'discount'),
    ('S', 'samples'),
    ('B', 'bad debt'),
    ('ADJUST*', 'adjustment by accounting'),
    ('CRUK', 'commission of a charity'),
    ('PADS', 'pads that match all cushions, given away'),
    ('BANK CHARGES', 'bank charges'),
    ('AMAZONFEE', 'fee of a marketplace'),
    ('GIFT_*', 'gift vouchers'),
    ('TEST*', 'test codes')
);

-- These also matched products: TESTER PEN, GIFT_BOX, ADJUSTABLE LAMP. A pattern that a shop has edited or deleted stays
-- so.
with exact (old, pattern, reason) as (
    values
    ('TEST*', 'TEST0*', 'test codes'),
    ('GIFT_*', 'GIFT_0*', 'gift vouchers'),
    ('ADJUST*', 'ADJUST', 'adjustment by accounting'),
    ('ADJUST*', 'ADJUST2', 'adjustment by accounting')
),

shipped as (
    delete from retail.excluded_stock_code
    using exact
    where
        excluded_stock_code.is_shipped
        and excluded_stock_code.pattern = exact.old
    returning excluded_stock_code.pattern
)

insert into retail.excluded_stock_code (pattern, reason, is_shipped)
select
    exact.pattern,
    exact.reason,
    true as is_shipped
from exact
inner join shipped on exact.old = shipped.pattern
on conflict (pattern) do nothing;

create function retail.code_matches(code text, pattern text) returns boolean
language sql immutable strict parallel safe
return retail.canonical_stock_code(code) like replace(
    replace(replace(replace(upper(btrim(pattern)), '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'
);
comment on function retail.code_matches is 'Whether a code is one of a pattern, in any case; * stands for any text.';

create or replace function retail.is_excluded_stock_code(code text) returns boolean
language sql stable parallel safe
return exists (
    select 1
    from retail.excluded_stock_code
    where retail.code_matches(code, pattern)
);
