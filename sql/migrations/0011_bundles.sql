-- Product sets that sell together, as they were last looked for: replaced as a whole.
create table retail.bundle (
    -- 1 is the one with the most revenue
    place integer primary key,
    stock_codes text[] not null check (cardinality(stock_codes) between 2 and 4),
    -- invoices with all of them
    invoices integer not null,
    -- the same over all invoices, 0 to 1
    support double precision not null,
    -- of the invoices with the others, the share that has the last one too: the smallest over all of its products
    confidence double precision not null,
    -- how many times more often than if each were bought on its own
    lift double precision not null,
    -- spent on these products on those invoices, in the shop's currency
    revenue double precision not null,
    -- first instant whose invoices do not count
    as_of timestamp not null,
    found_at timestamptz not null default now()
);
comment on table retail.bundle is
'Product sets of 2 to 4 that sell together, written by `ncf-pipeline bundles` and, weekly, by find_bundles.';
