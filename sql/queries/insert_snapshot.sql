insert into ml.snapshot (
    snapshot_id,
    cutoff,
    lines,
    customers,
    products,
    sha256,
    url,
    batches
)
overriding system value
values (
    %(snapshot_id)s,
    %(cutoff)s,
    %(lines)s,
    %(customers)s,
    %(products)s,
    %(sha256)s,
    %(url)s,
    %(batches)s
)
