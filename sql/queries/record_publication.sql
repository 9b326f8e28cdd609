insert into ml.publication (
    number,
    version,
    as_of,
    url,
    customers,
    products,
    published_at
)
values (
    %(number)s,
    %(version)s,
    %(as_of)s,
    %(url)s,
    %(customers)s,
    %(products)s,
    %(published_at)s
)
on conflict (number) do update
    set
        version = excluded.version,
        as_of = excluded.as_of,
        url = excluded.url,
        customers = excluded.customers,
        products = excluded.products,
        state = 'published',
        published_at = excluded.published_at
