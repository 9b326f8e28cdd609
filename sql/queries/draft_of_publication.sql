-- What the lists of a publication were made from; none if that is not known any more.
select
    version,
    snapshot_id,
    as_of,
    top_n,
    basis
from ml.draft
where
    publication = %(number)s
    and basis is not null
