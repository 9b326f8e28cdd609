-- What a load paid for each line, and did not need.

-- A third of copying lines. A batch's lines are read all together; they get their numbers in the run that lands them.
alter table raw.landed_line drop constraint landed_line_pkey;

-- A check for each invoice of a batch that the merge has locked. What it kept anybody from is kept below, once for each
-- batch that is deleted.
alter table retail.invoice drop constraint invoice_batch_id_fkey;

create function raw.keep_merged_batch() returns trigger
language plpgsql as $$
begin
    if exists (select from retail.invoice where batch_id = old.batch_id) then
        raise foreign_key_violation using message = format(
            'batch %s has brought invoices that are stored: its record stays', old.batch_id
        );
    end if;
    return old;
end
$$;

create trigger a_merged_batch_stays before delete on raw.batch
for each row when (old.status = 'merged') execute function raw.keep_merged_batch();

-- The rules on a batch look at the previous four weeks by the index on dates, which knows no new lines until it is told
-- of them. Autovacuum would do so only when a fifth of all lines is new, so that each file would read that much.
-- Whoever merges a batch may tell it, without being the owner.
create function retail.summarise_new_lines() returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
select brin_summarize_new_values('retail.invoice_line_by_date')
$$;
comment on function retail.summarise_new_lines is 'Tells the index on dates of the lines that were added.';

revoke execute on function retail.summarise_new_lines from public;

select retail.summarise_new_lines();
