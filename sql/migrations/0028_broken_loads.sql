-- A newer load of a stored invoice may be broken in every line. The stored lines then stay, and the first line that is
-- corrected replaces them; the next ones join it.
alter table raw.quarantined_line
add column replaces_invoice boolean not null default false;
comment on column raw.quarantined_line.replaces_invoice is
'Whether the line, once corrected, replaces the stored lines of its invoice instead of joining them.';
