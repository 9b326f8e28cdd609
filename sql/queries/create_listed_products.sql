-- A temporary table for the products to check; dropped at the end of the transaction.
create temporary table listed_product (
    stock_code text not null,
    -- whether it was sold, so that it needs lists
    is_sold boolean not null,
    -- whether a pin in force asks for it
    is_pinned boolean not null,
    -- whether a list shows it, or a pin asks for that
    is_shown boolean not null,
    -- at the newest sale; null if it was not sold
    unit_price double precision
) on commit drop;
