-- Lists that the rules refused, and what the rules say of those that they did not.

-- open: its lists are being checked or written, or whoever did that was killed or failed
alter table ml.publication
add column state text not null default 'published' check (state in ('open', 'refused', 'published')),
-- why it was refused
add column reason text,
-- of expectations/top_n_lists.json; null where nobody asked
add column report jsonb,
alter column published_at drop default,
alter column published_at drop not null,
add constraint a_refused_publication_says_why check (state <> 'refused' or reason is not null),
add constraint only_what_was_published_has_its_instant check ((state = 'published') = (published_at is not null));

-- The lists of one publication while rules are asked about them, and the ones that are missing. Unlogged, because
-- it is empty but for those minutes; whoever holds the lock of ncf_pipeline.list_quality empties it first.
create unlogged table ml.checked_list (
    audience text not null,
    key text not null,
    list_name text not null,
    -- of a customer, a product or a country that the purchases know
    is_expected boolean not null,
    -- products; null where a list is missing
    length integer,
    has_repeated boolean,
    -- products that nobody bought
    has_unsold boolean,
    -- stock codes that stand for no product
    has_excluded boolean,
    -- products that retail.product lacks
    has_undescribed boolean,
    -- products that this customer bought before
    has_bought boolean,
    -- the same products in the same order give the same value
    digest bigint
);

-- The catalogue meanwhile: every product that was bought.
create unlogged table ml.checked_product (
    stock_code text not null,
    -- customers whose for_you shows it
    customers bigint not null
);
