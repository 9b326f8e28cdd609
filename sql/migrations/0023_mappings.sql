-- What a person said once of how a shop's files look, by name; see docs/mappings.md.
create table raw.mapping (
    mapping_id bigint generated always as identity primary key,
    name text not null check (name ~ '^[a-z0-9_-]{1,40}$'),
    -- as the person wrote it
    yaml text not null,
    -- of what it says, without its name and comments
    sha256 text not null,
    saved_by text not null,
    saved_at timestamptz not null default now(),
    -- when another one took its place, or it was removed; null for the one that reads files
    ended_at timestamptz,
    ended_by text,
    constraint an_end_has_a_person check ((ended_at is null) = (ended_by is null))
);
comment on table raw.mapping is
'The mappings that people saved, with their history. A mapping that comes with the package is not here.';
create unique index mapping_that_reads on raw.mapping (name) where ended_at is null;

create table raw.used_mapping (
    sha256 text primary key,
    yaml text not null,
    first_used_at timestamptz not null default now()
);
comment on table raw.used_mapping is
'Each mapping that has read a file, saved or ready, as it was then.';

alter table raw.batch_file
-- the mapping that read the file; null if it needed none
add column mapping text,
add column mapping_sha256 text references raw.used_mapping,
add constraint a_mapping_is_kept check ((mapping is null) = (mapping_sha256 is null));
