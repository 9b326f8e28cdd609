-- Publications that are being made: scored in shards, perhaps on several machines, and then published as one.
create table ml.draft (
    draft_id bigint generated always as identity primary key,
    version bigint not null references ml.model_version,
    snapshot_id text not null,
    -- first instant whose purchases the lists do not know
    as_of timestamp not null,
    -- length of a list
    top_n integer not null check (top_n > 0),
    shards integer not null check (shards > 0),
    -- what lists depend on besides: rules, style, experiment; null when the draft has ended
    basis jsonb,
    -- the newest publication when it was opened; 0 if there was none
    after bigint not null,
    -- a hash of who had been erased
    erased_sha256 text not null,
    -- the folder of all drafts in the artifact store; the parts are in one below
    url text not null,
    opened_at timestamptz not null default now(),
    state text not null default 'open' check (state in ('open', 'published', 'dropped')),
    publication bigint references ml.publication,
    ended_at timestamptz,
    constraint a_published_draft_has_its_publication check (state <> 'published' or publication is not null),
    constraint an_open_draft_has_its_basis check (state <> 'open' or basis is not null),
    constraint a_draft_ends_when_it_is_no_longer_open check ((state = 'open') = (ended_at is null))
);
