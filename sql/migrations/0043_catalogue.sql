-- What the shop knows of its products, beside what they sold: `ncf-pipeline catalogue load`.

-- One row for each file that was loaded.
create table retail.catalogue_load (
    load_id bigint generated always as identity primary key,
    source text not null,
    sha256 text not null,
    -- whether the file was the whole catalogue, so that products that it lacks are missing
    is_whole boolean not null,
    -- the facts that the file had a column for
    facts text[] not null,
    loaded_by text not null,
    loaded_at timestamptz not null default now(),
    rows_read integer not null,
    rows_new integer not null,
    rows_changed integer not null,
    rows_unchanged integer not null,
    -- rows that say again what another row of the file says
    rows_repeated integer not null,
    rows_refused integer not null,
    products_missing integer not null,
    -- whether ncf:sold_out still has to be told what is in stock
    stock_waits boolean not null default false,
    constraint no_row_of_a_catalogue_is_lost check (
        rows_read = rows_new + rows_changed + rows_unchanged + rows_repeated + rows_refused
    )
);
comment on table retail.catalogue_load is 'Who loaded which catalogue when, and where each of its rows went.';
create index catalogue_load_with_waiting_stock on retail.catalogue_load (load_id) where stock_waits;

create table retail.catalogue (
    stock_code text primary key check (stock_code = retail.canonical_stock_code(stock_code) and stock_code <> ''),
    description text check (description <> ''),
    category text check (category <> ''),
    brand text check (brand <> ''),
    price numeric check (price >= 0),
    stock numeric,
    launched_on date,
    image_url text check (image_url ~* '^https?://'),
    -- the newest load that changed a fact of it
    load_id bigint not null references retail.catalogue_load,
    missing_since timestamptz
);
comment on table retail.catalogue is
'What the shop says of its products. A product may be here that no invoice knows. `ncf-pipeline catalogue load` writes '
'it.';
comment on column retail.catalogue.category is 'Of a path, the levels have " > " between them: Kitchen > Cups.';
comment on column retail.catalogue.price is 'Of one piece, in the shop''s currency.';
comment on column retail.catalogue.stock is 'Pieces; 0 or less: sold out; empty: not known.';
comment on column retail.catalogue.missing_since is
'When a whole catalogue first lacked it; empty: it is in the newest one. What is missing keeps its facts until '
'`ncf-pipeline catalogue remove`.';

create table retail.refused_catalogue_row (
    load_id bigint references retail.catalogue_load on delete cascade,
    place integer,
    sheet text,
    row_number bigint not null,
    stock_code text,
    -- each names the column, what is wrong, and what to do
    problems text[] not null,
    -- by our column, as the file has them
    cells jsonb not null,
    primary key (load_id, place)
);
comment on table retail.refused_catalogue_row is
'Rows of a catalogue that were not loaded, and why. The last ten loads keep theirs.';

comment on table retail.product_category is
'Categories by hand: for a product with a row here, it counts in place of that of retail.catalogue. '
'NCF_VARIETY_CATEGORY limits how many of one category a list''s first places show.';
