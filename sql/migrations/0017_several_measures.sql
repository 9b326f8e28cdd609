-- The measures that an experiment asks about besides the deciding one. Their number widens every interval that decides.

alter table ml.experiment
add column also text[] not null default '{}';
comment on column ml.experiment.also is
'Measures that are asked besides the deciding one, each with a decision of its own; empty in experiments that ask one.';
