-- A refresh may score only the customers for whom something changed, and take the lists of the others from the last
-- publication.
alter table ml.draft
add column since bigint references ml.publication,
add column refreshed jsonb;
comment on column ml.draft.since is
'The publication from which the lists of customers are taken who are not scored; null if everybody is.';
comment on column ml.draft.refreshed is
'How many customers are scored, and why; how many lists are taken over; how much a sample of those would differ.';

alter table ml.publication
add column refreshed jsonb;
comment on column ml.publication.refreshed is
'As of the draft that its lists were made from; null if they are those of an earlier publication.';
