-- Version 0: lists from counts alone, so that a shop has them from its first ingest, before any model is proven.

alter table ml.model_version
-- what makes its lists: a network (ncf), or counts alone (baselines)
add column recommender text not null default 'ncf' check (recommender in ('ncf', 'baselines')),
drop constraint a_promoted_version_has_an_artifact,
add constraint a_promoted_model_has_an_artifact check (
    promoted_at is null or url is not null or recommender = 'baselines'
),
add constraint version_0_is_the_baselines check ((version = 0) = (recommender = 'baselines')),
-- they have no files, and are neither evaluated by a gate nor held by one
add constraint the_baselines_always_can_serve check (
    recommender <> 'baselines' or (pruned_at is null and state <> 'held')
);

-- Whoever publishes may open version 0, and no other version; so it needs no right to insert. With other constraints
-- as they are, a second call changes nothing.
create function ml.open_version_0(snapshot text, known_until timestamp, asked_by text, by_code jsonb) returns void
language sql security definer
set search_path = ''
as $$
insert into ml.model_version (
    version, recommender, run_key, snapshot_id, cutoff, holdout_start, config, requested_by, code
)
overriding system value
values (0, 'baselines', 'version 0', snapshot, known_until, known_until, '{}', asked_by, by_code)
on conflict (version) do nothing
$$;

revoke execute on function ml.open_version_0 from public;

-- Customers who bought the same products may have the same list, however many they are: a shop may sell one product.
alter table ml.checked_list
add column history bigint;
