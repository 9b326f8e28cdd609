"""Every kind of alert. Each has a section of the same title in docs/runbook.md."""

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

from ncf_pipeline.errors import InputError


class Severity(StrEnum):
    """How soon a person must look, most urgent first."""

    PAGE = "page"  # now: shoppers notice
    WARN = "warn"  # on the next working day: shoppers do not notice yet
    INFO = "info"  # good to know


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading.

    >>> anchor_of("An experiment's groups are out of proportion")
    'an-experiments-groups-are-out-of-proportion'
    """
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


@dataclass(frozen=True)
class Kind:
    """Something that can break, and what is true of it each time.

    Attributes:
        name: stored with each incident.
        title: the heading of its section in the runbook.
        severity: how soon a person must look.
        shoppers: whether they are affected, and how.
        did: what the system did by itself.
        look: the command that shows more, unless the alert names a better one.
        lasts: True if it can end, and on-call learns of the end too; False for an event.
        over_when: tasks, as `dag.task`, whose success ends it.
        red_run: True if it says that a run ended red. Such a run has one open incident, whoever tells of it first.
    """

    name: str
    title: str
    severity: Severity
    shoppers: str
    did: str
    look: str
    lasts: bool = True
    over_when: tuple[str, ...] = ()
    red_run: bool = False

    @property
    def anchor(self) -> str:
        """The anchor of its section in the runbook."""
        return anchor_of(self.title)


_KEPT = "not affected. The live lists are untouched."

LIST_STORE_DOWN = Kind(
    name="list_store_down",
    title="Redis does not answer",
    severity=Severity.PAGE,
    shoppers="affected: the shop shows its own fallback instead of recommendations.",
    did="It keeps checking. If Redis lost its data, the next refresh or retrain writes the lists again.",
    look="ncf-pipeline status",
)
LISTS_MISSING = Kind(
    name="lists_missing",
    title="No lists are live",
    severity=Severity.PAGE,
    shoppers="affected: the shop shows its own fallback instead of recommendations.",
    did="It keeps checking. The next refresh or retrain writes all lists again.",
    look="ncf-pipeline status",
)
LISTS_GONE = Kind(
    name="lists_gone",
    title="Some lists are gone",
    severity=Severity.PAGE,
    shoppers="affected: those whose lists are gone see best sellers.",
    did="It keeps checking. The next refresh or retrain writes all lists again.",
    look="ncf-pipeline lists",
)
LISTS_BROKEN = Kind(
    name="lists_broken",
    title="Some lists are broken",
    severity=Severity.WARN,
    shoppers="a little affected: those whose lists are broken see best sellers.",
    did="The client passes broken values over, and counts them. The next refresh or retrain writes all lists again.",
    look="ncf-pipeline lists",
)
REDIS_EVICTS = Kind(
    name="redis_evicts",
    title="Redis may remove lists",
    severity=Severity.WARN,
    shoppers="not affected yet. When the memory of Redis is full, some of them see best sellers.",
    did="Nothing. It looks for a sample of the lists at each check.",
    look="ncf-pipeline lists",
)
REDIS_FULL = Kind(
    name="redis_full",
    title="Redis has no room for the next lists",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="It publishes nothing that would not fit: a refresh or a retrain fails before it writes.",
    look="ncf-pipeline lists",
)
LISTS_OLD = Kind(
    name="lists_old",
    title="The lists are old",
    severity=Severity.WARN,
    shoppers="a little affected: their lists do not know the newest purchases.",
    did="The previous lists stay live until they expire.",
    look="ncf-pipeline models",
)
RETRAIN_MISSING = Kind(
    name="retrain_missing",
    title="No retrain for too long",
    severity=Severity.WARN,
    shoppers="not affected yet. The champion's lists stay live, but fit less well with time.",
    did="The champion still refreshes the lists after each ingest.",
    look="ncf-pipeline models",
)
RETRAIN_LATE = Kind(
    name="retrain_late",
    title="A retrain takes too long",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The run continues until Airflow stops it after twelve hours.",
    look="ncf-pipeline models",
    over_when=("retrain_recommender.publish", "retrain_recommender.held"),
)
INGEST_FAILED = Kind(
    name="ingest_failed",
    title="Invoices are not loaded",
    severity=Severity.WARN,
    shoppers="not affected. The live lists are untouched, but do not know the newest purchases.",
    did="The failed step changed nothing. The files wait in the inbox, or in its folder `rejected` with the reason.",
    look="ncf-pipeline quarantine list",
    red_run=True,
)
RETRAIN_FAILED = Kind(
    name="retrain_failed",
    title="A retrain failed",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The champion stays. If training was killed, it resumes where it stopped once the task is cleared.",
    look="ncf-pipeline models",
    red_run=True,
)
REFRESH_FAILED = Kind(
    name="refresh_failed",
    title="The lists are not refreshed",
    severity=Severity.WARN,
    shoppers="not affected. The live lists are untouched, but do not know the newest purchases.",
    did="The unfinished publication was removed, or the next publication removes it.",
    look="ncf-pipeline models",
    red_run=True,
)
UPLIFT_FAILED = Kind(
    name="uplift_failed",
    title="An experiment is not measured",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The experiment continues unchanged. The next measurement counts every purchase since its start.",
    look="ncf-pipeline experiment list",
    red_run=True,
)
WATCH_FAILED = Kind(
    name="watch_failed",
    title="The lists are not watched",
    severity=Severity.WARN,
    shoppers="unknown: the check of the live lists failed itself.",
    did="The check runs again as scheduled.",
    look="ncf-pipeline status",
    red_run=True,
)
TASK_FAILED = Kind(
    name="task_failed",
    title="A manual run failed",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The failed step changed nothing.",
    look="ncf-pipeline status",
    red_run=True,
)
RUN_STOPPED = Kind(
    name="run_stopped",
    title="A run was stopped",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="Airflow stopped the run. The next run starts as scheduled.",
    look="ncf-pipeline status",
    red_run=True,
)
RUN_STUCK = Kind(
    name="run_stuck",
    title="A run does not end",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="Nothing. Airflow stops the run when it has taken as long as its DAG allows.",
    look="ncf-pipeline status",
)
SCHEDULE_MISSED = Kind(
    name="schedule_missed",
    title="A schedule started no run",
    severity=Severity.WARN,
    shoppers="not affected yet. What the run would have done waits.",
    did="Nothing. The watcher of Airflow keeps looking.",
    look="ncf-pipeline status",
)
DAG_BROKEN = Kind(
    name="dag_broken",
    title="A DAG cannot be read",
    severity=Severity.WARN,
    shoppers="not affected yet. Airflow starts no run of this DAG.",
    did="Airflow tries to read the file again and again.",
    look="ncf-pipeline status",
)
AIRFLOW_DOWN = Kind(
    name="airflow_down",
    title="A part of Airflow does not work",
    severity=Severity.WARN,
    shoppers="not affected yet. The live lists stay, and nothing renews them.",
    did="The watcher of Airflow keeps looking. Runs that were at work go on once the part works again, or fail.",
    look="ncf-pipeline status",
)
DATABASE_DOWN = Kind(
    name="database_down",
    title="Postgres does not answer",
    severity=Severity.WARN,
    shoppers="not affected yet. The live lists stay, and nothing renews them.",
    did="The watcher of Airflow keeps asking. Tasks are tried again.",
    look="ncf-pipeline status",
)
WATCHER_DOWN = Kind(
    name="watcher_down",
    title="Nothing watches Airflow",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="Tasks still tell of their own failures. Nothing tells of tasks that are killed.",
    look="ncf-pipeline status",
)
LINES_QUARANTINED = Kind(
    name="lines_quarantined",
    title="Lines wait in quarantine",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The broken lines wait in quarantine, each with the rule that it breaks. The rest was loaded.",
    look="ncf-pipeline quarantine list",
)
FILES_REFUSED = Kind(
    name="files_refused",
    title="Files were refused",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The files are in the inbox's folder `rejected`, each with the reason. The others were loaded.",
    look="ncf-pipeline alerts list",
    lasts=False,
)
LINES_LOST = Kind(
    name="lines_lost",
    title="Invoices lost lines",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The new load of these invoices was merged. It has no line for products that an earlier load had.",
    look="ncf-pipeline alerts list",
    lasts=False,
)
FOLDER_NOT_READ = Kind(
    name="folder_not_read",
    title="A folder of the inbox is not read",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The files stay in the folder. They are read once there is a mapping of its name.",
    look="ncf-pipeline mapping list",
)
MODEL_HELD = Kind(
    name="model_held",
    title="The gate held a model",
    severity=Severity.INFO,
    shoppers=_KEPT,
    did="What serves stays live: the champion, or version 0. The next retrain trains a new candidate.",
    look="ncf-pipeline models",
    lasts=False,
)
DATA_DRIFT = Kind(
    name="data_drift",
    title="Purchases have drifted",
    severity=Severity.WARN,
    shoppers="perhaps affected: the live lists follow older purchases.",
    did="The retrain that detected it continues and learns from the newer purchases. The gate judges the result.",
    look="ncf-pipeline models",
)
SAMPLE_RATIO = Kind(
    name="sample_ratio",
    title="An experiment's groups are out of proportion",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The report says that its figures cannot be trusted. The experiment continues.",
    look="ncf-pipeline experiment report",
)
EXPOSURE = Kind(
    name="exposure",
    title="Customers do not see their group's lists",
    severity=Severity.WARN,
    shoppers="hardly affected: some see the lists of the other group of an experiment, or best sellers.",
    did="The check is repeated every hour. The report counts it, and says if the effect is diluted or invalid.",
    look="ncf-pipeline experiment check",
)
EXPERIMENT_HARM = Kind(
    name="experiment_harm",
    title="An experiment harms its share",
    severity=Severity.WARN,
    shoppers="some affected: the experiment's share sees significantly worse lists than everyone else.",
    did="The experiment has ended, unless it was started with --no-ends-on-harm. If it has, the next publication gives "
    "all customers their own lists.",
    look="ncf-pipeline experiment report",
)
LISTS_LOSE = Kind(
    name="lists_lose",
    title="The lists sell less than best sellers",
    severity=Severity.WARN,
    shoppers="affected: nearly all of them see lists that sell less than best sellers.",
    did="Nothing. Ending the experiment would show these lists to the remaining customers too.",
    look="ncf-pipeline experiment report",
)
RULE_IDLE = Kind(
    name="rule_idle",
    title="A rule matches nothing",
    severity=Severity.WARN,
    shoppers="perhaps affected: a product is shown that should not be, or is shown nowhere.",
    did="The lists follow the rules as they are written.",
    look="ncf-pipeline rules check",
)
CHANGES_UNTOLD = Kind(
    name="changes_untold",
    title="Other systems are not told of changes",
    severity=Severity.WARN,
    shoppers="perhaps affected: a cache may still show earlier lists, or a hidden product.",
    did="It keeps what is to be told, and tries again at each change and watch, a webhook for three days.",
    look="ncf-pipeline changes",
)
ATTENTION = Kind(
    name="attention",
    title="Something needs a look",
    severity=Severity.WARN,
    shoppers=_KEPT,
    did="The run continued.",
    look="ncf-pipeline alerts list",
    lasts=False,
)
TRY_OUT = Kind(
    name="try_out",
    title="A test alert",
    severity=Severity.INFO,
    shoppers="not affected.",
    did="Nothing is broken: a person asked for this message.",
    look="ncf-pipeline alerts list",
    lasts=False,
)

KINDS = {kind.name: kind for kind in list(globals().values()) if isinstance(kind, Kind)}
"""Every kind, by name."""

RED_RUN = tuple(kind.name for kind in KINDS.values() if kind.red_run)
"""Names of the kinds that say that a run ended red."""


def check_kind(kind: Kind) -> Kind:
    """Returns the kind if it is one. Catches at run time what the type checker would reject.

    Raises:
        InputError: it is not a constant of this module.
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
    "retrain_recommender": RETRAIN_FAILED,
    "refresh_lists": REFRESH_FAILED,
    "measure_uplift": UPLIFT_FAILED,
    "watch_freshness": WATCH_FAILED,
}


def failure_of(dag_id: str) -> Kind:
    """Returns the kind of alert for a failed task of this DAG."""
    return _OF_DAG.get(dag_id, TASK_FAILED)
