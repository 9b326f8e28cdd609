"""Everything that on-call can hear of, in one place. Each kind has its section in docs/runbook.md."""

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

from ncf_pipeline.errors import InputError


class Severity(StrEnum):
    """How soon a person must look; in order, the most urgent first."""

    PAGE = "page"  # at once: shoppers notice
    WARN = "warn"  # on the next working day: shoppers do not notice yet
    INFO = "info"  # good to know


def anchor_of(heading: str) -> str:
    """The anchor of a section, as GitHub makes it of the heading."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


@dataclass(frozen=True)
class Kind:
    """What can break, and what is always true of it.

    Attributes:
        name: kept with the incident.
        title: the heading of its section in the runbook.
        severity: how soon a person must look.
        shoppers: whether they are affected, and how.
        did: what the system did by itself.
        look: the command to look further, where an alert brings no better one.
        lasts: whether it is over at some time, which is told too; otherwise it just happened.
        over_when: tasks, as `dag.task`, whose success says that it is over.
    """

    name: str
    title: str
    severity: Severity
    shoppers: str
    did: str
    look: str
    lasts: bool = True
    over_when: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Of its section in the runbook."""
        return anchor_of(self.title)


_KEPT = "not affected. The lists that serve are untouched."

LIST_STORE_DOWN = Kind(
    name="list_store_down",
    title="Redis does not answer",
    severity=Severity.PAGE,
    shoppers="affected: the shop shows its own fallback in place of recommendations.",
    did="It keeps asking. What Redis has lost, the next refresh or retrain writes again.",
    look="ncf-pipeline status",
)
LISTS_MISSING = Kind(
    name="lists_missing",
    title="No lists are live",
    severity=Severity.PAGE,
    shoppers="affected: the shop shows its own fallback in place of recommendations.",
    did="It keeps looking. The next refresh or retrain writes everything again.",
    look="ncf-pipeline status",
)
LISTS_OLD = Kind(
    name="lists_old",
    title="The lists are old",
    severity=Severity.WARN,
    shoppers="a little affected: they see lists that do not know the newest purchases.",
    did="The lists before keep serving until they expire.",
    look="ncf-pipeline models",
)
RETRAIN_MISSING = Kind(
    name="retrain_missing",
    title="No retrain for too long",
    severity=Severity.WARN,
    shoppers="not affected yet. The champion's lists serve, and grow less apt with time.",
    did="The lists are still refreshed with the champion after each ingest.",
    look="ncf-pipeline models",
)
RETRAIN_LATE = Kind(
    name="retrain_late",
    title="A retrain takes too long",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The run goes on, until Airflow stops it after twelve hours.",
    look="ncf-pipeline models",
    over_when=("retrain_recommender.publish", "retrain_recommender.held"),
)
INGEST_FAILED = Kind(
    name="ingest_failed",
    title="Invoices are not loaded",
    severity=Severity.WARN,
    shoppers="not affected. The lists that serve are untouched, and do not know the newest purchases.",
    did="Nothing of the step was kept. The files wait in the inbox, or in its folder `rejected` with the reason.",
    look="ncf-pipeline quarantine list",
)
RETRAIN_FAILED = Kind(
    name="retrain_failed",
    title="A retrain failed",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The champion stays. A training that was killed goes on where it stopped when the task is cleared.",
    look="ncf-pipeline models",
)
REFRESH_FAILED = Kind(
    name="refresh_failed",
    title="The lists are not refreshed",
    severity=Severity.WARN,
    shoppers="not affected. The lists that serve are untouched, and do not know the newest purchases.",
    did="What was half-written was removed, or is by the next publication.",
    look="ncf-pipeline models",
)
UPLIFT_FAILED = Kind(
    name="uplift_failed",
    title="An experiment is not measured",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The experiment goes on, and its groups see what they saw. The next look counts all that was bought.",
    look="ncf-pipeline experiment list",
)
WATCH_FAILED = Kind(
    name="watch_failed",
    title="Nobody watches the lists",
    severity=Severity.WARN,
    shoppers="nobody knows: what should look after the lists failed itself.",
    did="It tries again at its next time.",
    look="ncf-pipeline status",
)
TASK_FAILED = Kind(
    name="task_failed",
    title="What was asked for by hand failed",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="Nothing of the step was kept.",
    look="ncf-pipeline status",
)
RUN_STOPPED = Kind(
    name="run_stopped",
    title="A run was stopped",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="Airflow stopped the run, for it took longer than it ever should. The next one starts at its time.",
    look="ncf-pipeline status",
    lasts=False,
)
LINES_QUARANTINED = Kind(
    name="lines_quarantined",
    title="Lines wait in quarantine",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The broken lines wait, with the rule that they break; the rest was loaded.",
    look="ncf-pipeline quarantine list",
)
FILES_REFUSED = Kind(
    name="files_refused",
    title="Files were refused",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The files are in the inbox's folder `rejected`, with the reason beside each; the others were loaded.",
    look="ncf-pipeline alerts list",
    lasts=False,
)
MODEL_HELD = Kind(
    name="model_held",
    title="The gate held a model",
    severity=Severity.INFO,
    shoppers=_KEPT,
    did="The champion keeps serving. The next retrain makes a new candidate.",
    look="ncf-pipeline models",
    lasts=False,
)
DATA_DRIFT = Kind(
    name="data_drift",
    title="What is bought has drifted",
    severity=Severity.WARN,
    shoppers="perhaps affected: the lists that serve were made for what was bought before.",
    did="The retrain that found it goes on and learns from the newer purchases; the gate judges it.",
    look="ncf-pipeline models",
)
SAMPLE_RATIO = Kind(
    name="sample_ratio",
    title="An experiment's groups are out of proportion",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The report says that nothing of it can be believed. The experiment goes on.",
    look="ncf-pipeline experiment report",
)
EXPERIMENT_HARM = Kind(
    name="experiment_harm",
    title="An experiment harms its share",
    severity=Severity.WARN,
    shoppers="some affected: the experiment's share sees lists that are surely worse than those of all others.",
    did="Unless it was told to go on, the experiment has ended, and the next publication gives everybody their lists.",
    look="ncf-pipeline experiment report",
)
LISTS_LOSE = Kind(
    name="lists_lose",
    title="The lists sell less than best sellers",
    severity=Severity.WARN,
    shoppers="affected: what nearly all of them see is worse than best sellers.",
    did="Nothing: ending the experiment would show the lists to the rest as well.",
    look="ncf-pipeline experiment report",
)
ATTENTION = Kind(
    name="attention",
    title="Something wants a look",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The run went on.",
    look="ncf-pipeline alerts list",
    lasts=False,
)
TRY_OUT = Kind(
    name="try_out",
    title="An alert to try out",
    severity=Severity.INFO,
    shoppers="not affected.",
    did="Nothing is broken: a person asked for this message.",
    look="ncf-pipeline alerts list",
    lasts=False,
)

KINDS = {kind.name: kind for kind in list(globals().values()) if isinstance(kind, Kind)}
"""All of them, by name."""


def check_kind(kind: Kind) -> Kind:
    """Returns the kind. The type checker rejects anything else; so does this, for code that it has not seen.

    Raises:
        InputError: it is no constant of this module.
    """
    if isinstance(kind, Kind):
        return kind
    names = {name.upper() for name in KINDS}
    close = difflib.get_close_matches(str(kind).upper(), names, n=1, cutoff=0)
    raise InputError(
        f"{kind!r} is not an alert kind: pass a constant of ncf_pipeline.alerts.kinds. The closest is kinds.{close[0]}."
    )


_OF_DAG = {
    "ingest_invoices": INGEST_FAILED,
    "correct_quarantine": INGEST_FAILED,
    "retrain_recommender": RETRAIN_FAILED,
    "refresh_lists": REFRESH_FAILED,
    "measure_uplift": UPLIFT_FAILED,
    "watch_freshness": WATCH_FAILED,
}


def failure_of(dag_id: str) -> Kind:
    """What it means that a task of this DAG failed."""
    return _OF_DAG.get(dag_id, TASK_FAILED)
