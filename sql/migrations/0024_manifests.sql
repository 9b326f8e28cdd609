-- The SHA-256 of each model's manifest, so that a model is refused if its files were swapped.
create table ml.model_manifest (
    version bigint not null references ml.model_version on delete cascade,
    is_backtest boolean not null,
    -- more than one only while a manifest is replaced, or after a writer was killed then
    sha256 text[] not null,
    primary key (version, is_backtest)
);
comment on table ml.model_manifest is
'SHA-256 of the manifests that were written for a version. A version from before this table has no row.';
