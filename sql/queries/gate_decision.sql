select
    promote,
    reasons,
    details,
    decided_at
from ml.gate_decision
where version = %(version)s
