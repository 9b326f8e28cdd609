-- What a change of rules would do to lists, computed before anybody decides. It names no customer.
create table retail.rule_preview (
    preview_id bigint generated always as identity primary key,
    -- serving.rules.changes.Change
    change jsonb not null,
    asked_by text not null,
    reason text,
    asked_at timestamptz not null default now(),
    -- the newest change of rules that whoever asked had seen
    seen bigint not null,
    state text not null default 'waiting'
    check (state in ('waiting', 'running', 'ready', 'failed', 'saved', 'dropped')),
    -- serving.rules.previews.Result
    result jsonb,
    error text,
    ended_at timestamptz,
    saved_as bigint references retail.rule_change,
    constraint a_failed_preview_says_why check ((state = 'failed') = (error is not null)),
    constraint a_ready_preview_has_its_result check (state <> 'ready' or result is not null)
);
comment on table retail.rule_preview is 'Changes of rules that somebody asked to see before they decide.';
