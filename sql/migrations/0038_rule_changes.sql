-- Who changed which of a merchandiser's rules, when and why. The database writes it itself, so that no way to change a
-- rule, be it the page, a command or SQL, goes round it.

create table retail.rule_change (
    change_id bigint generated always as identity primary key,
    -- one transaction is one change
    transaction_id xid8 not null,
    changed_at timestamptz not null,
    actor text not null,
    reason text,
    undoes bigint references retail.rule_change,
    -- after a restore, a transaction's id may come again
    unique (transaction_id, changed_at)
);
create index rule_change_by_undone on retail.rule_change (undoes);
comment on table retail.rule_change is 'Each change of a merchandiser''s rules, as one transaction made it.';
comment on column retail.rule_change.undoes is 'The change that this one undid; empty if it undid none.';

create table retail.changed_rule (
    changed_rule_id bigint generated always as identity primary key,
    change_id bigint not null references retail.rule_change,
    -- a table of the schema retail
    rule text not null check (rule in ('unlisted_product', 'product_country', 'pinned_product', 'list_limit')),
    -- canonical; null for a limit
    stock_code text,
    -- the row before, null if there was none; and after, null if it was deleted
    was jsonb,
    is_now jsonb
);
comment on table retail.changed_rule is 'The rows that a change of rules inserted, updated or deleted, in this order.';
create index changed_rule_by_change on retail.changed_rule (change_id);
create index changed_rule_by_product on retail.changed_rule (stock_code, change_id);

create function retail.record_rule_change() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed bigint;
    was jsonb;
    is_now jsonb;
begin
    if tg_op in ('UPDATE', 'DELETE') then
        was := to_jsonb(old);
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        is_now := to_jsonb(new);
    end if;
    if tg_op <> 'TRUNCATE' and was is not distinct from is_now then
        return null;
    end if;
    select change_id into changed
    from retail.rule_change
    where transaction_id = pg_current_xact_id() and changed_at = now();
    if changed is null then
        insert into retail.rule_change (transaction_id, changed_at, actor, reason, undoes)
        values (
            pg_current_xact_id(),
            now(),
            coalesce(nullif(current_setting('ncf.actor', true), ''), session_user),
            nullif(current_setting('ncf.reason', true), ''),
            nullif(current_setting('ncf.undoes', true), '')::bigint
        )
        returning change_id into changed;
    end if;
    if tg_op = 'TRUNCATE' then
        execute format(
            'insert into retail.changed_rule (change_id, rule, stock_code, was) '
            'select $1, $2, retail.canonical_stock_code(to_jsonb(rule) ->> ''stock_code''), to_jsonb(rule) '
            'from retail.%I as rule',
            tg_table_name
        )
        using changed, tg_table_name::text;
    else
        insert into retail.changed_rule (change_id, rule, stock_code, was, is_now)
        values (
            changed, tg_table_name, retail.canonical_stock_code(coalesce(is_now, was) ->> 'stock_code'), was, is_now
        );
    end if;
    return null;
end
$$;
revoke execute on function retail.record_rule_change from public;

do $$
declare
    name text;
begin
    foreach name in array array['unlisted_product', 'product_country', 'pinned_product', 'list_limit'] loop
        execute format(
            'create trigger record_change after insert or update or delete on retail.%I '
            'for each row execute function retail.record_rule_change()',
            name
        );
        execute format(
            'create trigger record_truncation before truncate on retail.%I '
            'for each statement execute function retail.record_rule_change()',
            name
        );
    end loop;
end
$$;

-- With the caller's rights: who may write the rules, may undo a change of them.
create function retail.undo_rule_change(which bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    changed record;
    undone bigint;
begin
    perform set_config('ncf.undoes', which::text, true);
    for changed in
        select rule, was, is_now from retail.changed_rule where change_id = which order by changed_rule_id desc
    loop
        undone := 1;
        if changed.rule = 'list_limit' and changed.was is not null and changed.is_now is not null then
            update retail.list_limit as limits
            set max_per_family = earlier.max_per_family, min_price = earlier.min_price
            from jsonb_populate_record(null::retail.list_limit, changed.was) as earlier
            where to_jsonb(limits) = changed.is_now;
            get diagnostics undone = row_count;
        else
            if changed.is_now is not null then
                execute format('delete from retail.%I as rule where to_jsonb(rule) = $1', changed.rule)
                using changed.is_now;
                get diagnostics undone = row_count;
            end if;
            if changed.was is not null and undone > 0 then
                execute format(
                    'insert into retail.%1$I overriding system value '
                    'select * from jsonb_populate_record(null::retail.%1$I, $1) on conflict do nothing',
                    changed.rule
                )
                using changed.was;
                get diagnostics undone = row_count;
            end if;
        end if;
        if undone = 0 then
            raise exception 'what change % made was changed again since', which
            using errcode = 'object_not_in_prerequisite_state';
        end if;
    end loop;
end
$$;
comment on function retail.undo_rule_change is
'Makes the rules that a change changed what they were before; an error if one of them was changed again since.';
revoke execute on function retail.undo_rule_change from public;
