-- What the newest drift report found while each of these versions was live.
select distinct on (publication.version)
    publication.version,
    drift_report.findings
from ml.publication
inner join ml.drift_report on publication.number = (drift_report.figures ->> 'publication')::bigint
where publication.version = any(%(versions)s)
order by
    publication.version asc,
    drift_report.bought_until desc
