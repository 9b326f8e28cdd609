"""A merchandiser's rules that match nothing, as an alert."""

from ncf_pipeline.airflow.alerts import over, warn
from ncf_pipeline.alerts.kinds import RULE_IDLE
from ncf_pipeline.serving.rules.checks import findings
from ncf_pipeline.settings import Settings

_TOLD = 10


def tell_of_idle_rules(settings: Settings) -> None:
    """Alerts on-call that rules match nothing, or closes the incident if each of them does what it says.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    found = findings(settings)
    if not found:
        over(RULE_IDLE)
        return
    count = "A rule does" if len(found) == 1 else f"{len(found)} rules do"
    more = [f"{len(found) - _TOLD} more."] if len(found) > _TOLD else []
    lines = [f"{count} not do what {'it says' if len(found) == 1 else 'they say'}.", *map(str, found[:_TOLD]), *more]
    warn("\n".join(lines), kind=RULE_IDLE)
