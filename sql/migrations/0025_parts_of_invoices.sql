-- Files whose lines are parts of invoices, as their mapping says: they are added to the stored lines.
alter table raw.batch_file add column adds_parts boolean not null default false;
