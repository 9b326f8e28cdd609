-- Lines that a shop's files hold, but that do not count: an order that is not paid yet, or was refunded as a whole.
alter table raw.landed_line
-- why the line does not count; null if it does. It is not checked and not merged.
add column left_out text,
-- true if it also takes its invoice back: an invoice of which every line does is removed
add column takes_back boolean;

alter table raw.batch
add column lines_left_out bigint not null default 0,
-- reason to its lines
add column left_out jsonb,
drop constraint nothing_is_lost,
add constraint nothing_is_lost check (
    status <> 'merged' or lines_read = lines_merged + lines_unchanged + lines_quarantined + lines_left_out
);

create view raw.line_to_check as
select *
from raw.landed_line
where left_out is null;
comment on view raw.line_to_check is 'The landed lines that count, for the rules in expectations/invoices.json.';
