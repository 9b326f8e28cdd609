-- Temporary tables for the lists and purchases to check; dropped at the end of the transaction.
create temporary table given_list (
    audience text not null,
    key text not null,
    list_name text not null,
    -- best first
    stock_codes text[] not null
) on commit drop;

-- one row for each customer and product
create temporary table given_pair (
    customer_id text not null,
    stock_code text not null,
    -- whether a purchase of it still counts, or all were returned
    is_kept boolean not null
) on commit drop;

-- the country of each customer's newest invoice; several if several invoices have the same time
create temporary table given_customer_country (
    customer_id text not null,
    country text not null
) on commit drop;

create temporary table given_product (
    stock_code text not null,
    -- at the newest sale
    unit_price double precision not null
) on commit drop;

-- customers with best sellers in place of lists of their own
create temporary table given_control (
    key text not null
) on commit drop;

create temporary table given_country (
    country text not null
) on commit drop;
