select
    until,
    figures,
    sentence,
    looked_at
from ml.experiment_report
where experiment = %(experiment)s
order by until asc
