-- Customer ids are text: an e-mail address, C-1001, a UUID or 17850. Quantities may be fractions, where a shop sells by
-- weight. Ids and quantities of before stay what they are, and so do the hashes of invoices.

-- Who may do what with the view that must be made again, except its owner: not every installation has the same roles.
create temporary table view_grant on commit drop as
select
    granted.privilege_type,
    granted.is_grantable,
    case when granted.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(granted.grantee)) end as grantee
from pg_class as purchase_or_return
cross join lateral aclexplode(purchase_or_return.relacl) as granted
where
    purchase_or_return.oid = 'retail.purchase_or_return'::regclass
    and granted.grantee <> purchase_or_return.relowner;

drop view retail.purchase_or_return;
drop function raw.cells_of(raw.landed_line);
drop function retail.line_content(text, text, integer, timestamp, numeric, bigint, text);

alter table raw.landed_line
alter column customer_id type text using nullif(customer_id, 0)::text,
alter column quantity type numeric,
-- a guest has none
add constraint a_customer_has_an_id check (customer_id not in ('', '0'));

alter table retail.invoice_line
alter column customer_id type text using nullif(customer_id, 0)::text,
alter column quantity type numeric,
add constraint a_customer_has_an_id check (customer_id not in ('', '0'));

-- A changed column loses its statistics.
analyze raw.landed_line (customer_id, quantity);
analyze retail.invoice_line (customer_id, quantity);

-- Cells of lines in quarantine, where a customer was a number.
update raw.quarantined_line
set corrected = jsonb_set(corrected, '{customer_id}', to_jsonb(corrected ->> 'customer_id'))
where jsonb_typeof(corrected -> 'customer_id') = 'number';

update raw.quarantined_line
set original = jsonb_set(original, '{customer_id}', to_jsonb(original ->> 'customer_id'))
where jsonb_typeof(original -> 'customer_id') = 'number';

update raw.quarantined_line
set readable = jsonb_set(readable, '{customer_id}', to_jsonb(readable ->> 'customer_id'))
where jsonb_typeof(readable -> 'customer_id') = 'number';

create function raw.cells_of(line raw.landed_line) returns jsonb
language sql stable parallel safe
return coalesce(
    line.original,
    jsonb_strip_nulls(
        jsonb_build_object(
            'invoice_no', line.invoice_no,
            'stock_code', line.stock_code,
            'description', line.description,
            'quantity', trim_scale(line.quantity)::text,
            'invoice_date', to_char(line.invoice_date, 'YYYY-MM-DD HH24:MI:SS.MS'),
            'unit_price', trim_scale(line.unit_price)::text,
            'customer_id', line.customer_id,
            'country', line.country
        )
    )
);
comment on function raw.cells_of is
'A landed line as text, by column: what a person sees of it in quarantine, and how the same line is known again.';

create function retail.line_content(
    stock_code text,
    description text,
    quantity numeric,
    invoice_date timestamp,
    unit_price numeric,
    customer_id text,
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
    coalesce(customer_id, '0'),
    coalesce(country, e'\x1e')
);
comment on function retail.line_content is
'A line as far as the hash of its invoice knows it. Numbers without zeros at their end: see trim_scale.';

create view retail.purchase_or_return as
-- materialized, so that each spelling of a code is matched with the patterns once, and not each line
with spelling as materialized (
    select distinct stock_code
    from retail.invoice_line
),

product_code as (
    select
        stock_code as spelled,
        retail.canonical_stock_code(stock_code) as stock_code
    from spelling
    where not retail.is_excluded_stock_code(stock_code)
)

select
    invoice_line.invoice_no,
    invoice_line.line_number,
    product_code.stock_code,
    invoice_line.description,
    invoice_line.quantity,
    invoice_line.invoice_date,
    invoice_line.unit_price,
    invoice_line.customer_id,
    invoice_line.country,
    invoice_line.quantity > 0 as is_purchase
from retail.invoice_line
inner join product_code on invoice_line.stock_code = product_code.spelled
where
    invoice_line.quantity < 0
    or (
        invoice_line.quantity > 0
        and invoice_line.unit_price > 0
        and not retail.is_cancellation(invoice_line.invoice_no)
    );
comment on view retail.purchase_or_return is
'The lines of invoices that are purchases, and those that may take a purchase back: all negative quantities. A line '
'without a price, a positive line of a cancellation, and a code in retail.excluded_stock_code are neither.';
comment on column retail.purchase_or_return.stock_code is 'In canonical spelling.';

do $$
declare
    each record;
begin
    for each in select * from view_grant loop
        execute format(
            'grant %s on retail.purchase_or_return to %s%s',
            each.privilege_type,
            each.grantee,
            case when each.is_grantable then ' with grant option' else '' end
        );
    end loop;
end
$$;
