select
    number,
    version,
    as_of,
    url,
    customers,
    products,
    published_at
from ml.publication
order by number desc
