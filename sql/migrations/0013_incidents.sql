-- What on-call was told: one incident is one alert, however often it is met, and one message once it is over.

create schema ops;

create table ops.incident (
    incident_id bigint generated always as identity primary key,
    -- of ncf_pipeline.alerts.kinds
    kind text not null,
    -- tells two incidents of a kind apart
    key text not null,
    severity text not null check (severity in ('page', 'warn', 'info')),
    -- false for what just happened: it is told once, and there is nothing that could be over
    lasts boolean not null,
    title text not null,
    body text not null,
    -- since when it is broken
    since timestamptz not null,
    opened_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    times integer not null default 1,
    -- null while nobody could be reached
    told_at timestamptz,
    closed_at timestamptz,
    recovery_told_at timestamptz,
    constraint only_what_lasts_is_over check (lasts or closed_at is null)
);

create unique index one_open_incident on ops.incident (kind, key) where closed_at is null;
