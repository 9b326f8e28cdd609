update retail.list_limit
set
    max_per_family = %(max_per_family)s::integer,
    min_price = %(min_price)s::numeric
where (max_per_family, min_price) is distinct from (%(max_per_family)s::integer, %(min_price)s::numeric)
