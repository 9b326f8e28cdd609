create temporary table catalogue_row (
    place integer,
    sheet text,
    row_number bigint,
    code text,
    stock_code text generated always as (retail.canonical_stock_code(code)) stored,
    description text,
    category text,
    brand text,
    price numeric,
    stock numeric,
    launched_on date,
    image_url text
) on commit drop;

-- One load after the other: of two at once, the second sees what the first wrote.
lock table retail.catalogue in share row exclusive mode
