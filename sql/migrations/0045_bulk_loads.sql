-- A load that is as large as the shop writes the two indexes for the pages line by line, which takes longer than all
-- else in the merge. To make them anew takes a tenth of that. Whoever merges may do so, without being the owner.
create function retail.set_lookups_aside() returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    lock table retail.invoice_line in access exclusive mode nowait;
    drop index if exists retail.invoice_line_by_product, retail.invoice_line_by_customer;
    return true;
exception
    when lock_not_available then return false;
end
$$;
comment on function retail.set_lookups_aside is
'Drops the indexes that only pages need, for the rest of the transaction; false if others use the table.';

create function retail.bring_lookups_back() returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    create index if not exists invoice_line_by_product
    on retail.invoice_line (retail.canonical_stock_code(stock_code));
    create index if not exists invoice_line_by_customer
    on retail.invoice_line (customer_id)
    where customer_id is not null;
end
$$;
comment on function retail.bring_lookups_back is 'Makes the indexes that set_lookups_aside has dropped.';

revoke execute on function retail.set_lookups_aside, retail.bring_lookups_back from public;
