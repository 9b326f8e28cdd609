-- What the lists really did: which publication was live when, and what customers bought meanwhile.
--
-- Two clocks: that on the wall, and the shop's, on which purchases have their instants. They differ wherever days are
-- loaded that are long over. Who was live when is told by the first; what was bought meanwhile by the second.

create table ml.live_period (
    period bigint generated always as identity primary key,
    number bigint not null references ml.publication,
    -- a publication, or a flip of the pointer to lists that the list store still held
    began_by text not null check (began_by in ('publication', 'flip')),
    -- on the wall; a period ends when the next one begins
    began_at timestamptz not null default now(),
    ended_at timestamptz,
    -- the shop's: the first instant whose purchases these lists answer, up to where the next period's lists do
    answers_from timestamp not null
);

create unique index one_period_is_open on ml.live_period ((true)) where ended_at is null;

-- Notes that a publication is live from now on.
--
-- Lists that know more than those before them answer what was bought since they were made: they begin at as_of.
-- Lists that do not (a flip; lists of an earlier cutoff; a retrain that a refresh has overtaken) begin where the shop
-- is: after its newest invoice. So nobody is credited with a purchase that was made before they served, and no
-- period begins before the one that it follows.
create function ml.begin_live_period(what bigint, how text, since timestamptz) returns void
language plpgsql
as $$
declare
    known_until timestamp;
    open_period ml.live_period;
    clock timestamp;
begin
    lock table ml.live_period in share row exclusive mode;
    select * into open_period from ml.live_period where ended_at is null;
    if open_period.number = what then
        return;
    end if;
    select as_of into strict known_until from ml.publication where number = what;
    if how = 'flip' or known_until < open_period.answers_from then
        select date_trunc('second', max(invoice_date)) + interval '1 second' into clock from retail.invoice_line;
    end if;
    update ml.live_period set ended_at = greatest(since, began_at) where ended_at is null;
    insert into ml.live_period (number, began_by, began_at, answers_from)
    values (
        what,
        how,
        greatest(since, open_period.began_at),
        greatest(known_until, clock, open_period.answers_from)
    );
end
$$;

-- By a trigger, so that no publication is forgotten.
create function ml.record_live_publication() returns trigger
language plpgsql
as $$
begin
    perform ml.begin_live_period(new.number, 'publication', new.published_at);
    return null;
end
$$;

create trigger a_publication_goes_live after update of state on ml.publication
for each row when (new.state = 'published' and old.state <> 'published')
execute function ml.record_live_publication();

-- What was published before; flips are not known.
insert into ml.live_period (number, began_by, began_at, ended_at, answers_from)
select
    number,
    'publication' as began_by,
    published_at,
    lead(published_at) over history as ended_at,
    max(as_of) over history as answers_from
from ml.publication
where state = 'published'
window history as (order by published_at asc, number asc)
order by
    published_at asc,
    number asc;

-- How sure the model is: customers by the share of its softmax that falls on their for_you, in twentieths.
alter table ml.publication
add column certainty bigint[];

-- Lists that were live against what was bought meanwhile. A slice of a period is what one measurement found of it.
create table ml.live_performance (
    period bigint not null references ml.live_period on delete cascade,
    -- the shop's clock: the slice is [bought_from, bought_until)
    bought_from timestamp not null,
    bought_until timestamp not null,
    question text not null check (question in ('for_you', 'discover')),
    -- live, or what could have been shown instead
    recommender text not null,
    -- depth of everything but NDCG
    k integer not null,
    -- who bought something that the question asks for, and was known when the lists were made
    customers integer not null,
    -- of them, who had no list: they count, with 0
    without_list integer not null,
    -- who bought, and came only after the lists were made: they saw the fallback and do not count
    newcomers integer not null,
    -- null where nobody was asked
    precision_at_k double precision,
    precision_low double precision,
    precision_high double precision,
    -- the live lists' precision minus this one's, customer by customer; null for the live lists
    ahead double precision,
    ahead_low double precision,
    ahead_high double precision,
    recall_at_k double precision,
    ndcg_at_10 double precision,
    -- the order in which the rows are shown
    place integer not null,
    measured_at timestamptz not null default now(),
    primary key (period, bought_from, question, recommender)
);

-- What has changed since, as found at the beginning of a retrain. All slices of [bought_from, bought_until) together.
create table ml.drift_report (
    snapshot_id text primary key,
    -- what was live at the end
    period bigint not null references ml.live_period on delete cascade,
    bought_from timestamp not null,
    bought_until timestamp not null,
    -- every number and threshold
    figures jsonb not null,
    -- what is beyond a threshold, in words
    findings text[] not null,
    measured_at timestamptz not null default now()
);
