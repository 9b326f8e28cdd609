-- What people decided about lines in quarantine: who, when and why; and what a page asked a worker to release.
create table raw.quarantine_request (
    request_id bigint generated always as identity primary key,
    action text not null check (action in ('release', 'discard')),
    -- of the lines that it is about
    quarantine_ids bigint[] not null check (cardinality(quarantine_ids) > 0),
    -- column to the new text of its cell, in each of the lines; null if they are as they were, or in the workbook
    changes jsonb,
    -- whether the new cells are in a workbook
    by_workbook boolean not null default false,
    -- the workbook as somebody sent it; null again when the request is done, and a day after it failed
    workbook bytea,
    actor text not null,
    reason text,
    asked_at timestamptz not null default now(),
    state text not null check (state in ('waiting', 'running', 'done', 'failed', 'dropped')),
    -- the batch that brought the released lines
    batch_id bigint references raw.batch on delete set null,
    error text,
    ended_at timestamptz,
    constraint only_an_ended_request_has_an_end check ((state in ('waiting', 'running')) = (ended_at is null)),
    constraint an_ended_request_has_no_workbook check (workbook is null or state in ('waiting', 'running', 'failed'))
);
comment on table raw.quarantine_request is 'What people decided about lines in quarantine, when and why.';
create index quarantine_request_by_line on raw.quarantine_request using gin (quarantine_ids);

-- The page of lines that wait, and their counts.
create index quarantined_line_waiting on raw.quarantined_line (quarantine_id) where state = 'waiting';
create index quarantined_line_waiting_of_batch on raw.quarantined_line (batch_id, quarantine_id)
where state = 'waiting';
