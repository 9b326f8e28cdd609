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
where state = 'published'
order by number desc
