-- What is copied in before rules are asked; gone at the end of the transaction.
create temporary table given_list (
    audience text not null,
    key text not null,
    list_name text not null,
    -- best first
    stock_codes text[] not null
) on commit drop;

-- each customer and product once
create temporary table given_pair (
    customer_id bigint not null,
    stock_code text not null,
    -- whether a purchase of it counts still, or all came back
    is_kept boolean not null
) on commit drop;

-- each customer's, on the newest invoice; several where there are several of one moment
create temporary table given_customer_country (
    customer_id bigint not null,
    country text not null
) on commit drop;

create temporary table given_product (
    stock_code text not null,
    -- of the newest sale
    unit_price double precision not null
) on commit drop;

-- who has best sellers in place of a list of their own, and no other list
create temporary table given_control (
    key text not null
) on commit drop;

create temporary table given_country (
    country text not null
) on commit drop;
