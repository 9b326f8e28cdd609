-- What the rules of expectations/interactions.json said when they were last asked; null where nobody asked.
alter table ml.snapshot add column report jsonb;
