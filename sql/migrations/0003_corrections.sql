-- Which refused files came with which batch, and what a quarantined line was corrected to.

alter table raw.batch
-- of a rejected file: the batch that was made of the files it came with
add column offered_with bigint references raw.batch on delete set null;

alter table raw.quarantined_line
-- the cells as a person corrected them, by column; when the broken line is read again, these stand for it
add column corrected jsonb;

create index quarantined_line_by_batch on raw.quarantined_line (batch_id);
create index released_line_by_invoice on raw.quarantined_line (invoice_no) where state <> 'waiting';
