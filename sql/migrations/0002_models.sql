-- The registry: model versions, their evaluation, the gate's decisions, and what was published.

create table ml.model_version (
    version bigint generated always as identity primary key,
    -- what asked for it: an Airflow run id or a command; asking again continues the same version
    run_key text not null unique,
    state text not null default 'candidate' check (state in ('candidate', 'champion', 'retired', 'held')),
    snapshot_id text not null,
    -- first instant that the served model has not seen
    cutoff timestamp not null,
    holdout_start timestamp not null,
    -- network, training and evaluation settings
    config jsonb not null,
    -- a person, or what triggered the run
    requested_by text not null,
    -- the artifact of the refit; null until then
    url text,
    created_at timestamptz not null default now(),
    promoted_at timestamptz,
    retired_at timestamptz,
    constraint a_promoted_version_has_an_artifact check (promoted_at is null or url is not null)
);

create unique index one_champion on ml.model_version ((true)) where state = 'champion';

-- Every change of a version's state, whoever makes it: written by a trigger, so that none is forgotten.
create table ml.model_event (
    event_id bigint generated always as identity primary key,
    version bigint not null references ml.model_version on delete cascade,
    from_state text,
    to_state text not null,
    actor text not null,
    reason text,
    at timestamptz not null default now()
);

create function ml.record_model_event() returns trigger
language plpgsql
as $$
begin
    insert into ml.model_event (version, from_state, to_state, actor, reason)
    values (
        new.version,
        case when tg_op = 'UPDATE' then old.state end,
        new.state,
        coalesce(nullif(current_setting('ncf.actor', true), ''), current_user),
        nullif(current_setting('ncf.reason', true), '')
    );
    return null;
end
$$;

create trigger a_version_is_opened after insert on ml.model_version
for each row execute function ml.record_model_event();

create trigger a_version_changes_state after update of state on ml.model_version
for each row when (old.state is distinct from new.state) execute function ml.record_model_event();

create table ml.evaluation (
    version bigint not null references ml.model_version on delete cascade,
    -- candidate, incumbent, or a baseline's name
    recommender text not null,
    question text not null check (question in ('for_you', 'discover')),
    -- everyone, or a group of customers
    cohort text not null,
    -- depth of everything but NDCG
    k integer not null,
    customers integer not null,
    -- with the ends of its 95% interval over customers
    precision_at_k double precision not null,
    precision_low double precision not null,
    precision_high double precision not null,
    -- the candidate's precision minus this one's, customer by customer; null for the candidate
    ahead double precision,
    ahead_low double precision,
    ahead_high double precision,
    recall_at_k double precision not null,
    ndcg_at_10 double precision not null,
    -- distinct products recommended over the catalogue, 0 to 1
    catalog_coverage double precision not null,
    -- share of known customers with k products
    full_lists double precision not null,
    -- mean share of products that two customers' lists have in common
    overlap double precision not null,
    -- the order in which the rows are shown
    place integer not null,
    evaluated_at timestamptz not null default now(),
    primary key (version, question, cohort, recommender)
);

create table ml.gate_decision (
    version bigint primary key references ml.model_version on delete cascade,
    promote boolean not null,
    reasons text[] not null,
    -- thresholds, versions compared, who asked
    details jsonb not null,
    decided_at timestamptz not null default now()
);

create sequence ml.publication_number;

create table ml.publication (
    number bigint primary key,
    version bigint not null references ml.model_version,
    -- first instant whose purchases the lists do not know
    as_of timestamp not null,
    -- the lists as published, as Parquet
    url text not null,
    customers integer not null,
    products integer not null,
    published_at timestamptz not null default now()
);
