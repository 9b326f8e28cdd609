select *
from ops.incident
where
    %(over_too)s
    or (lasts and closed_at is null)
order by incident_id desc
limit %(most)s;
