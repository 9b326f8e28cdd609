-- Whether customers are shown the lists of their group, while an experiment runs: checks of samples of both groups.
-- Only counts are kept, so an erased customer takes nothing from them.

create table ml.exposure_check (
    experiment bigint not null references ml.experiment on delete cascade,
    checked_at timestamptz not null,
    -- the one that was live
    publication bigint not null references ml.publication,
    of_group text not null check (of_group in ('treated', 'control')),
    -- customers who were looked at
    checked integer not null check (checked >= 0),
    -- exactly the lists of their group
    shown_right integer not null,
    -- other lists
    shown_wrong integer not null,
    -- none of their own, although lists were made for them
    shown_nothing integer not null,
    primary key (experiment, checked_at, of_group),
    constraint each_is_counted_once check (shown_right + shown_wrong + shown_nothing = checked)
);
comment on table ml.exposure_check is
'Checks of whether customers are shown the lists of their group of an experiment: counts for each check and group.';
