-- The numbers of the newest versions.
select version
from ml.model_version
order by version desc
limit %(most)s
