-- What was given for nothing and comes back takes no purchase off, and a return that is dated without a time comes
-- after the purchases of its day. The view is made again, with its grants.
create temporary table grant_of_view on commit drop as
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
),

-- a date without a time is midnight
free_line as (
    select
        invoice_line.invoice_no,
        invoice_line.line_number,
        invoice_line.customer_id,
        product_code.stock_code,
        invoice_line.quantity,
        row_number() over ledger as position,
        sum(invoice_line.quantity) over ledger as total
    from retail.invoice_line
    inner join product_code on invoice_line.stock_code = product_code.spelled
    where
        invoice_line.unit_price = 0
        and invoice_line.customer_id is not null
    window ledger as (
        partition by invoice_line.customer_id, product_code.stock_code
        order by
            invoice_line.invoice_date + case
                when invoice_line.quantity < 0 and invoice_line.invoice_date::time = '00:00'
                    then interval '1 day' - interval '1 microsecond'
                else interval '0'
            end asc,
            invoice_line.quantity > 0 desc,
            invoice_line.invoice_no collate "C" asc,
            invoice_line.line_number asc
    )
),

-- the pieces that a customer holds of what was given for nothing, never below zero
free_held as (
    select
        *,
        total - least(
            0,
            min(total) over (
                partition by customer_id, stock_code
                order by position asc
                rows between unbounded preceding and current row
            )
        ) as held
    from free_line
),

with_before as (
    select
        invoice_no,
        line_number,
        quantity,
        held,
        lag(held, 1, 0) over (
            partition by customer_id, stock_code
            order by position asc
        ) as held_before
    from free_held
),

-- what remains of a return without a price, when what was given for nothing is taken off it
remaining as (
    select
        invoice_no,
        line_number,
        quantity + held_before - held as remains
    from with_before
    where quantity < 0
)

select
    invoice_line.invoice_no,
    invoice_line.line_number,
    product_code.stock_code,
    invoice_line.description,
    invoice_line.invoice_date,
    invoice_line.unit_price,
    invoice_line.customer_id,
    invoice_line.country,
    coalesce(remaining.remains, invoice_line.quantity) as quantity,
    invoice_line.quantity > 0 as is_purchase,
    invoice_line.invoice_date + case
        when invoice_line.quantity < 0 and invoice_line.invoice_date::time = '00:00'
            then interval '1 day' - interval '1 microsecond'
        else interval '0'
    end as counts_at
from retail.invoice_line
inner join product_code on invoice_line.stock_code = product_code.spelled
left join remaining
    on
        invoice_line.invoice_no = remaining.invoice_no
        and invoice_line.line_number = remaining.line_number
where
    (
        invoice_line.quantity < 0
        and remaining.remains is distinct from 0
    )
    or (
        invoice_line.quantity > 0
        and invoice_line.unit_price > 0
        and not retail.is_cancellation(invoice_line.invoice_no)
    );

comment on view retail.purchase_or_return is
'The lines of invoices that are purchases, and those that may take a purchase back: negative quantities. A line '
'without a price, a positive line of a cancellation, and a code in retail.excluded_stock_code are neither. What was '
'given for nothing and comes back without a price is not in it.';
comment on column retail.purchase_or_return.stock_code is 'In canonical spelling.';
comment on column retail.purchase_or_return.counts_at is
'The order of purchases and returns: a return that is dated without a time comes after the purchases of its day.';

do $$
declare
    each record;
begin
    for each in select * from grant_of_view loop
        execute format(
            'grant %s on retail.purchase_or_return to %s%s',
            each.privilege_type,
            each.grantee,
            case when each.is_grantable then ' with grant option' else '' end
        );
    end loop;
end
$$;
