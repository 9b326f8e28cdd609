-- The shop's own categories, for variety in lists; and experiments on the order of lists.

create table retail.product_category (
    stock_code text primary key,
    category text not null check (category <> '')
);
comment on table retail.product_category is
'The category of a product, as the shop names it: NCF_VARIETY_CATEGORY limits how many of one a list''s first places '
'show. A product without a row is of no category.';
comment on column retail.product_category.stock_code is 'In any case.';

alter table ml.experiment
drop constraint experiment_kind_check,
-- order: the share sees the champion's lists in another order
add constraint experiment_kind_check check (kind in ('holdout', 'challenger', 'order')),
-- that the share sees: by the chance of a purchase, or by expected revenue
add column list_order text check (list_order in ('precision', 'value')),
add constraint an_order_is_named check ((kind = 'order') = (list_order is not null));
