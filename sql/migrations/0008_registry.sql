-- Where a version comes from, who may take its place, and what is no longer kept.

alter table ml.snapshot
-- ids of the batches whose lines are in it; null in snapshots from before
add column batches bigint[],
-- when somebody last asked for its content
add column used_at timestamptz not null default now(),
-- since when its files are gone; they come back when the same content is frozen again
add column pruned_at timestamptz;

alter table ml.model_version
-- the champion when its run began; null if there was none
add column parent bigint references ml.model_version on delete set null,
-- version, commit and hash of the code that opened it; null in versions from before
add column code jsonb,
-- since when people have gone back from it to an earlier one
add column withdrawn_at timestamptz,
-- since when its model is gone
add column pruned_at timestamptz,
add constraint a_champion_is_neither_withdrawn_nor_pruned check (
    state <> 'champion' or (withdrawn_at is null and pruned_at is null)
);

-- Runs that are on their way now began under this champion.
update ml.model_version
set parent = (select champion.version from ml.model_version as champion where champion.state = 'champion')
where state = 'candidate';

alter table ml.publication
add column created_at timestamptz not null default now(),
-- since when its file is gone
add column pruned_at timestamptz;

create trigger a_version_is_pruned after update of pruned_at on ml.model_version
for each row when (old.pruned_at is null and new.pruned_at is not null) execute function ml.record_model_event();

-- Whoever promotes may object after the gate, and never the other way round; so it needs no right to the table.
create function ml.object_to_version(which bigint, objections text[]) returns void
language sql security definer
set search_path = ''
as $$
update ml.gate_decision
set
    promote = false,
    -- what spoke for it no longer counts
    reasons = case when promote then objections else reasons || objections end,
    decided_at = now()
where version = which
$$;

revoke execute on function ml.object_to_version from public;
