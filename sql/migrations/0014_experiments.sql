-- Experiments on customers: what was decided before each starts, and what each look found.

create table ml.experiment (
    experiment bigint generated always as identity primary key,
    -- as people call it, and as it stands in addresses
    name text not null unique check (name ~ '^[a-z][a-z0-9-]{0,59}$'),
    hypothesis text not null,
    -- holdout: the share sees best sellers; challenger: the share sees another version's lists
    kind text not null check (kind in ('holdout', 'challenger')),
    challenger bigint references ml.model_version,
    share double precision not null check (share > 0 and share < 1),
    -- of the hash of customers' ids that draws the share: nobody's membership is stored
    salt text not null,
    -- the least that is worth finding, and the chance with which it is to be found
    minimum_effect double precision not null check (minimum_effect > 0),
    power double precision not null check (power > 0 and power < 1),
    -- of ncf_pipeline.experiments.measures
    metric text not null,
    -- weekly: each look, by an interval that holds at all of them; once: one look, at the end
    decides text not null check (decides in ('weekly', 'once')),
    harm_bound double precision not null check (harm_bound >= 0),
    ends_on_harm boolean not null,
    -- the shop's clock; what was bought in [starts_at, ends_at) counts, without end where that is null
    starts_at timestamp not null,
    ends_at timestamp,
    state text not null default 'running' check (state in ('running', 'ended')),
    started_by text not null,
    started_at timestamptz not null default now(),
    ended_by text,
    ended_why text,
    ended_at timestamptz,
    -- the shop's clock at that moment
    stopped_at timestamp,
    constraint a_challenger_is_a_version check ((kind = 'challenger') = (challenger is not null)),
    constraint one_look_has_its_time check (decides = 'weekly' or ends_at is not null),
    constraint it_ends_after_it_starts check (ends_at > starts_at),
    constraint whoever_ends_it_says_why check (
        (state = 'ended') = (ended_by is not null and ended_why is not null and stopped_at is not null)
    )
);

create unique index one_experiment_runs on ml.experiment ((true)) where state = 'running';

-- Whose groups a publication's lists were made for; null where nobody was in one.
alter table ml.publication
add column experiment bigint references ml.experiment;

-- A look. Figures are of groups, never of a customer, so that whoever is erased takes nothing from them.
create table ml.experiment_report (
    experiment bigint not null references ml.experiment on delete cascade,
    -- the shop's clock: what was bought before
    until timestamp not null,
    figures jsonb not null,
    -- the outcome in plain words
    sentence text not null,
    looked_at timestamptz not null default now(),
    primary key (experiment, until)
);
