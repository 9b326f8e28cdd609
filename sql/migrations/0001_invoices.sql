-- Invoices: what was landed, what waits in quarantine, what the shop sold, and snapshots of it.

create schema raw;
create schema retail;
create schema ml;

-- One row for each set of files that was taken in together.
create table raw.batch (
    batch_id bigint generated always as identity primary key,
    -- what people call it: a file's name, or the first and last of several
    source text not null,
    -- of the SHA-256 of its files: the same bytes give the same value
    sha256 text not null,
    status text not null default 'landed' check (status in ('landed', 'merged', 'rejected')),
    lines_read bigint not null default 0,
    lines_merged bigint not null default 0,
    lines_unchanged bigint not null default 0,
    lines_quarantined bigint not null default 0,
    -- lines of earlier batches that gave way to a newer version of their invoice
    lines_replaced bigint not null default 0,
    -- the earlier batch whose bytes these are; it was not read again
    same_as bigint references raw.batch,
    -- of a refused file: the batch that was made of the files it came with
    offered_with bigint references raw.batch on delete set null,
    -- why it was rejected, or what else a person should know
    reason text,
    -- of the rules that it was checked with: the same bytes under other rules are read again
    rules_sha256 text,
    -- what validation found
    report jsonb,
    created_at timestamptz not null default now(),
    validated_at timestamptz,
    quarantined_at timestamptz,
    finished_at timestamptz,
    constraint nothing_is_lost check (
        status <> 'merged' or lines_read = lines_merged + lines_unchanged + lines_quarantined
    ),
    constraint a_rejected_batch_says_why check (status <> 'rejected' or reason is not null),
    constraint only_a_finished_batch_has_an_end check ((status = 'landed') = (finished_at is null))
);

create index batch_by_sha256 on raw.batch (sha256);
create index open_batch on raw.batch (batch_id) where status = 'landed';

create table raw.batch_file (
    batch_id bigint not null references raw.batch on delete cascade,
    -- from 1, in the order in which they were read
    file_number integer not null,
    name text not null,
    -- where it was found: a path or a URL
    location text not null,
    sha256 text not null,
    bytes bigint not null,
    lines_read bigint not null default 0,
    -- of a workbook: the sheets that were read, in the order of landed_line.sheet_number
    sheets text[] not null default '{}',
    ignored_columns text[] not null default '{}',
    -- what else a person should know: sheets left out, the same bytes as another file
    note text,
    primary key (batch_id, file_number)
);

create index batch_file_by_sha256 on raw.batch_file (sha256);

-- Every line of the files of a batch that is not finished. A merged batch keeps none: its lines are in
-- retail.invoice_line or in quarantine.
create table raw.landed_line (
    batch_id bigint not null references raw.batch on delete cascade,
    -- from 1, in the order in which they were read
    line_number bigint not null,
    file_number integer not null,
    -- from 1 in a workbook; 0 elsewhere
    sheet_number integer not null,
    -- as a spreadsheet counts: the header is row 1
    row_number bigint not null,
    invoice_no text,
    stock_code text,
    description text,
    quantity integer,
    invoice_date timestamp,
    unit_price numeric,
    customer_id bigint,
    country text,
    -- columns whose cell is not of its type; the typed column is null then
    unreadable text[],
    -- the cells as they were, by column; only where one is unreadable
    original jsonb,
    -- the line in quarantine that this one corrects
    corrects bigint,
    primary key (batch_id, line_number)
);

create table raw.quarantined_line (
    quarantine_id bigint generated always as identity primary key,
    batch_id bigint not null references raw.batch on delete cascade,
    line_number bigint not null,
    file_number integer not null,
    sheet_number integer not null,
    row_number bigint not null,
    -- where it is readable
    invoice_no text,
    -- the cells as they were, by column
    original jsonb not null,
    -- the line in quarantine that this one was to correct
    corrects bigint,
    -- of expectations/invoices.json
    rule_ids text[] not null check (cardinality(rule_ids) > 0),
    state text not null default 'waiting' check (state in ('waiting', 'released', 'discarded')),
    created_at timestamptz not null default now(),
    resolved_at timestamptz,
    -- the batch that brought the correction, or a newer load of the invoice
    resolved_by bigint references raw.batch,
    -- the cells as a person corrected them, by column; where the broken line is read again, these stand for it
    corrected jsonb,
    -- why it was discarded
    note text,
    unique (batch_id, line_number),
    constraint only_a_resolved_line_has_an_end check ((state = 'waiting') = (resolved_at is null))
);

create index quarantined_line_by_invoice on raw.quarantined_line (invoice_no);

-- Two spellings of a code are one product when this gives the same, and only then.
create function retail.canonical_stock_code(code text) returns text
language sql immutable strict parallel safe
return upper(btrim(code));

-- The unit of ingest: a newer load of an invoice replaces its lines.
create table retail.invoice (
    invoice_no text primary key,
    lines integer not null,
    -- of its lines in their canonical order: the same content gives the same value
    sha256 text not null,
    batch_id bigint not null references raw.batch
);

create table retail.invoice_line (
    invoice_no text not null,
    -- from 1, in an order that depends on nothing but the lines' content
    line_number integer not null,
    -- as the shop wrote it; retail.canonical_stock_code decides what is one product
    stock_code text not null,
    description text,
    -- pieces; negative on a cancellation, a return or a stock adjustment
    quantity integer not null,
    -- the shop's own clock
    invoice_date timestamp not null,
    -- the shop's currency
    unit_price numeric not null,
    -- null for a guest
    customer_id bigint,
    country text,
    batch_id bigint not null,
    primary key (invoice_no, line_number)
);

-- Lines come in nearly by date, so a few bytes for each block of them are enough. A full index would cost more on
-- each load than it ever saves: snapshots read all lines anyway.
create index invoice_line_by_date on retail.invoice_line using brin (invoice_date);

-- The newest good description of each product.
create table retail.product (
    stock_code text primary key check (stock_code = retail.canonical_stock_code(stock_code)),
    description text not null,
    described_at timestamp not null
);

-- Codes that stand for no product. Edit freely: it counts from the next snapshot on.
create table retail.excluded_stock_code (
    -- in any case; * stands for any text
    pattern text primary key,
    reason text not null
);

insert into retail.excluded_stock_code (pattern, reason) values
('POST', 'postage'),
('DOT', 'postage of the web shop'),
('C2', 'carriage'),
('M', 'entered by hand'),
('D', 'discount'),
('S', 'samples'),
('B', 'bad debt'),
('ADJUST*', 'adjustment by accounting'),
('CRUK', 'commission of a charity'),
('PADS', 'pads that match all cushions, given away'),
('BANK CHARGES', 'bank charges'),
('AMAZONFEE', 'fee of a marketplace'),
('GIFT_*', 'gift vouchers'),
('TEST*', 'test codes');

create function retail.is_excluded_stock_code(code text) returns boolean
language sql stable parallel safe
return exists (
    select 1
    from retail.excluded_stock_code
    where
        retail.canonical_stock_code(code) like replace(
            replace(replace(replace(upper(btrim(pattern)), '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'
        )
);

-- A frozen set of interactions, as files in the artifact store.
create table ml.snapshot (
    snapshot_id bigint generated always as identity primary key,
    -- first instant that is not in it
    cutoff timestamp not null,
    lines bigint not null,
    customers bigint not null,
    products bigint not null,
    -- of its content, whatever the physical order
    sha256 text not null,
    url text not null,
    created_at timestamptz not null default now(),
    unique (cutoff, sha256)
);
