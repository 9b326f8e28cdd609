-- The registry's changes as functions, so that a role may make one change without the right to make any other.
-- sql/roles.sql says who may call which.
--
-- Training builds a version until it serves: it opens it, records its gate, artifact and manifests. From its
-- first promotion on, a version stays as it is, but for its state. Only publishing changes that, and only among the
-- versions that the gate let through. The owner of the schema may change anything: erasures rewrite old models.
--
-- Their search path ends with pg_temp. Without it, a caller's temporary type or table of a name such as text would be
-- found first, and run with the owner's rights.

create function ml.is_unproven(which bigint) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
select exists (
    select from ml.model_version
    where version = which and promoted_at is null and recommender <> 'baselines'
)
$$;
comment on function ml.is_unproven is 'Whether a version is a model that has never served.';

-- The row's lock lets no promotion come between this question and the change that follows.
create function ml.refuse_if_served(which bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_has_role(session_user, (select relowner from pg_catalog.pg_class where oid = 'ml.model_version'::regclass), 'member') then
        return;
    end if;
    perform from ml.model_version where version = which for share;
    if not ml.is_unproven(which) then
        raise exception 'v% has served or is no model, so it stays as it is: a new run makes a new version', which
        using errcode = 'object_not_in_prerequisite_state';
    end if;
end
$$;

-- A second try with the same run key continues the version that the first try opened. Its parent stays the champion of
-- the time when the run began. A version that has served is not changed.
create function ml.open_version(
    key_of_run text,
    snapshot text,
    known_until timestamp,
    holdout_from timestamp,
    settings jsonb,
    asked_by text,
    by_code jsonb
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    opened bigint;
begin
    insert into ml.model_version (run_key, snapshot_id, cutoff, holdout_start, config, requested_by, code, parent)
    values (
        key_of_run, snapshot, known_until, holdout_from, settings, asked_by, by_code,
        (select champion.version from ml.model_version as champion where champion.state = 'champion')
    )
    on conflict (run_key) do update
    set
        snapshot_id = excluded.snapshot_id,
        cutoff = excluded.cutoff,
        holdout_start = excluded.holdout_start,
        config = excluded.config,
        requested_by = excluded.requested_by,
        code = excluded.code,
        pruned_at = null
    where model_version.promoted_at is null and model_version.recommender <> 'baselines'
    returning version into opened;
    if opened is null then
        select version into strict opened from ml.model_version where run_key = key_of_run;
    end if;
    return opened;
end
$$;

create function ml.record_gate_decision(which bigint, may_serve boolean, why text[], facts jsonb) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform ml.refuse_if_served(which);
    insert into ml.gate_decision (version, promote, reasons, details)
    values (which, may_serve, why, facts)
    on conflict (version) do update
    set
        promote = excluded.promote,
        reasons = excluded.reasons,
        details = excluded.details,
        decided_at = now();
    -- A version that serves or has served keeps its state: its run was only repeated.
    update ml.model_version
    set state = case when may_serve then 'candidate' else 'held' end
    where version = which and state in ('candidate', 'held');
end
$$;

-- Now it also holds the version. One that has served keeps its decision: a rollback to it stays possible.
create or replace function ml.object_to_version(which bigint, objections text[]) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
update ml.gate_decision
set
    promote = false,
    -- what spoke for it no longer counts
    reasons = case when promote then objections else reasons || objections end,
    decided_at = now()
where version = which and ml.is_unproven(which);

update ml.model_version
set state = 'held'
where version = which and state = 'candidate' and ml.is_unproven(which);
$$;

create function ml.record_artifact(which bigint, folder text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform ml.refuse_if_served(which);
    update ml.model_version set url = folder where version = which;
end
$$;

-- Makes a manifest known. If it was made from another one, only if that one is known.
create function ml.expect_manifest(which bigint, of_backtest boolean, seal text, made_from text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform ml.refuse_if_served(which);
    if made_from is null then
        insert into ml.model_manifest as known (version, is_backtest, sha256)
        values (which, of_backtest, array[seal])
        on conflict (version, is_backtest) do update
        set sha256 = array_append(array_remove(known.sha256, seal), seal);
    else
        update ml.model_manifest
        set sha256 = array_append(array_remove(sha256, seal), seal)
        where version = which and is_backtest = of_backtest and made_from = any(sha256);
    end if;
end
$$;

create function ml.forget_manifest(which bigint, of_backtest boolean, seal text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform ml.refuse_if_served(which);
    update ml.model_manifest
    set sha256 = array_remove(sha256, seal)
    where version = which and is_backtest = of_backtest;
end
$$;

-- Lets one transaction at a time change which version serves.
create function ml.lock_registry() returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    lock table ml.model_version in share row exclusive mode;
end
$$;

create function ml.may_serve(which bigint) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
select exists (
    select from ml.model_version
    left join ml.gate_decision on model_version.version = gate_decision.version
    where
        model_version.version = which
        and (
            model_version.recommender = 'baselines'
            or (
                model_version.url is not null
                and model_version.pruned_at is null
                and gate_decision.promote
            )
        )
)
$$;
comment on function ml.may_serve is
'Whether a version has what it takes to serve: a model that is kept, and the gate''s yes. Version 0 always may.';

-- Retires the champion and promotes a version, which may be one that served before.
create function ml.make_champion(which bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform ml.lock_registry();
    if not ml.may_serve(which) then
        raise exception 'v% cannot serve: it has no artifact, or no longer has one, or the gate held it', which
        using errcode = 'object_not_in_prerequisite_state';
    end if;
    -- If an older version takes its place, the champion is withdrawn: later candidates are not compared with it.
    update ml.model_version
    set
        state = 'retired',
        retired_at = now(),
        withdrawn_at = case when version > which then now() end
    where state = 'champion' and version <> which;
    update ml.model_version
    set
        state = 'champion',
        promoted_at = coalesce(promoted_at, now()),
        retired_at = null,
        withdrawn_at = null
    where version = which;
end
$$;

-- The lists of version 0 are made from a newer snapshot.
create function ml.renew_version_0(snapshot text, known_until timestamp, by_code jsonb) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
update ml.model_version
set
    snapshot_id = snapshot,
    cutoff = known_until,
    holdout_start = known_until,
    code = by_code
where version = 0
$$;

-- What happened is written by triggers alone, so nobody else needs the right to write it.
create or replace function ml.record_model_event() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ml.model_event (version, from_state, to_state, actor, reason)
    values (
        new.version,
        case when tg_op = 'UPDATE' then old.state end,
        new.state,
        coalesce(nullif(current_setting('ncf.actor', true), ''), session_user),
        nullif(current_setting('ncf.reason', true), '')
    );
    return null;
end
$$;
alter function ml.begin_live_period(bigint, text, timestamptz) security definer;
do $$
begin
    execute 'alter function ml.begin_live_period set search_path = pg_catalog, pg_temp';
    execute 'alter function ml.open_version_0 set search_path = pg_catalog, pg_temp';
end
$$;

-- A version's scores, too, stay once it has served. The owner is not asked.
alter table ml.evaluation enable row level security;
create policy everybody_reads on ml.evaluation for select using (true);
create policy scores_of_what_never_served on ml.evaluation for insert with check (ml.is_unproven(version));
create policy scores_are_replaced_until_it_serves on ml.evaluation for delete using (ml.is_unproven(version));

revoke execute on function
ml.is_unproven, ml.refuse_if_served, ml.open_version, ml.record_gate_decision, ml.record_artifact, ml.expect_manifest,
ml.forget_manifest, ml.lock_registry, ml.may_serve, ml.make_champion, ml.renew_version_0, ml.begin_live_period,
ml.record_model_event
from public;
