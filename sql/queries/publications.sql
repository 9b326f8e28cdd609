-- The publications that are or were live, newest first: all, or one, or those of a version, or those with a file.
select
    number,
    version,
    as_of,
    url,
    customers,
    products,
    published_at,
    experiment
from ml.publication
where
    state = 'published'
    and (%(number)s::bigint is null or number = %(number)s)
    and (%(version)s::bigint is null or version = %(version)s)
    and (not %(kept)s or pruned_at is null)
order by number desc
limit %(most)s
