-- A product can be pinned on the list of another one: what is bought together with it.
alter table retail.pinned_product
add column beside text,
drop constraint pinned_product_list_name_check,
add constraint pinned_product_list_name_check
check (list_name in ('for_you', 'discover', 'new_arrivals', 'bought_together')),
add constraint a_list_of_a_product_is_of_one check ((list_name = 'bought_together') = (beside is not null)),
add constraint a_product_is_not_beside_itself
check (retail.canonical_stock_code(beside) <> retail.canonical_stock_code(stock_code)),
add constraint a_list_of_a_product_has_no_country check (beside is null or country is null);
comment on column retail.pinned_product.beside is
'The product on whose list it is, in any case; empty for lists of customers and visitors.';
comment on column retail.pinned_product.list_name is
'for_you is that of customers and that of visitors; bought_together is that of the product in beside.';

-- An earlier change is undone by finding the row that it made, as it is now.
update retail.changed_rule
set
    was = was || '{"beside": null}',
    is_now = is_now || '{"beside": null}'
where rule = 'pinned_product';
