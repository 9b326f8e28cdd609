insert into ml.publication (
    number,
    version,
    as_of,
    url,
    customers,
    products,
    experiment,
    state,
    published_at
)
values (
    %(number)s,
    %(version)s,
    %(as_of)s,
    %(url)s,
    %(customers)s,
    %(products)s,
    %(experiment)s,
    'open',
    null
)
