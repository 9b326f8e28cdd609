"""The rules of `expectations/interactions.json`, checked on a snapshot before anything is trained on it.

They are checked on the Parquet files as read back, because training reads those, and they are in memory then anyway.
For the 400,000 purchases of a real year this takes about a second and 130 MB beside the library.
"""

import logging
import math
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from psycopg2.extras import Json

from ncf_pipeline.columns import Interactions, Products
from ncf_pipeline.errors import QualityError
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.quality.suites import BrokenRule, Severity
from ncf_pipeline.registry.snapshots import Snapshot
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows, transaction
from ncf_pipeline.storage.resources import query

__all__ = ["SnapshotReport", "check_snapshot"]

logger = logging.getLogger(__name__)

SUITE = "interactions"
RECENT = timedelta(days=7)
"""How far before the cutoff the newest purchase may be."""

LATE = timedelta(days=28)
"""The last days before the cutoff; those with purchases are counted."""

SETTLED_AT = "settled_at"
DAY_OF_LATE = "day_of_late"


@dataclass(frozen=True)
class SnapshotReport:
    """Result of the rules on a snapshot, as `ml.snapshot.report` keeps it.

    Attributes:
        rules: number of rules that were checked.
        worst: highest severity among the rules that failed; None if none failed.
        broken: the rules that rows broke, the worst first.
        lines: number of purchases.
        active_days: days with a purchase, of the last 28 before the cutoff.
    """

    rules: int
    worst: Severity | None
    broken: tuple[BrokenRule, ...]
    lines: int
    active_days: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "broken": [asdict(rule) for rule in self.broken]}


def check_snapshot(settings: Settings, snapshot: Snapshot) -> SnapshotReport:
    """Checks every rule on a snapshot, logs the rules that failed, and keeps the report in the snapshot's record.

    Args:
        settings: whose database; the table of excluded stock codes is read as it is now.
        snapshot: as read back from the artifact store.

    Returns:
        The report that was kept.

    Raises:
        QualityError: the snapshot broke a critical rule, or a rule could not be checked. Nothing is trained on it.
    """
    frame = _with_instants(snapshot.interactions, snapshot.cutoff)
    parameters = {
        "cutoff": snapshot.cutoff,
        "recent": snapshot.cutoff - RECENT,
        **_foreign_codes(settings, snapshot),
        **_bounds(settings, snapshot),
    }
    verdict = quality.check_frame(frame, SUITE, parameters=parameters)
    report = SnapshotReport(
        rules=verdict.rules,
        worst=verdict.worst,
        broken=tuple(verdict.broken),
        lines=len(frame),
        active_days=int(frame[DAY_OF_LATE].nunique()) if DAY_OF_LATE in frame else 0,
    )
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            query("record_snapshot_report"), {"snapshot_id": _number(snapshot), "report": Json(report.as_dict())}
        )
    quality.log_failures(verdict, snapshot.snapshot_id)
    if verdict.worst == "critical":
        consequence = "Nothing was trained; the live model stays live"
        raise QualityError(quality.refusal(verdict, snapshot.snapshot_id, consequence))
    logger.info("%s: %d rules checked on %d purchases.", snapshot.snapshot_id, verdict.rules, len(frame))
    return report


def _with_instants(interactions: pd.DataFrame, cutoff: datetime) -> pd.DataFrame:
    """The interactions with the instant of each one's last change, and its day if that is one of the last 28."""
    if not {Interactions.PURCHASED_AT, Interactions.RETURNED_AT} <= set(interactions):
        return interactions  # the rule on columns says so
    purchased_at, returned_at = interactions[Interactions.PURCHASED_AT], interactions[Interactions.RETURNED_AT]
    return interactions.assign(
        **{
            SETTLED_AT: returned_at.fillna(purchased_at),
            DAY_OF_LATE: purchased_at.dt.floor("D").where(purchased_at >= cutoff - LATE),
        }
    )


def _foreign_codes(settings: Settings, snapshot: Snapshot) -> dict[str, list[str]]:
    """Stock codes of the interactions that are excluded, and those that are not among the snapshot's products.

    Both are mostly empty. They are found here because the library copies long lists of values many times.
    """
    if Interactions.STOCK_CODE not in snapshot.interactions:
        return {"excluded": [], "strangers": []}
    codes = sorted(snapshot.interactions[Interactions.STOCK_CODE].dropna().unique())
    excluded = [row.stock_code for row in read_rows(settings, "excluded_among", stock_codes=codes)]
    return {"excluded": excluded, "strangers": sorted(set(codes) - set(snapshot.products[Products.STOCK_CODE]))}


def _bounds(settings: Settings, snapshot: Snapshot) -> dict[str, int | None]:
    """What is usual, by the newest good snapshot with no later cutoff; no bounds if there is none."""
    before = read_rows(settings, "snapshot_before", snapshot_id=_number(snapshot), cutoff=snapshot.cutoff)
    if not before or Interactions.PURCHASED_AT not in snapshot.interactions or snapshot.interactions.empty:
        return {"fewest_lines": 0, "most_lines": None, "fewest_days": 0}
    (earlier,) = before
    first = snapshot.interactions[Interactions.PURCHASED_AT].min()
    days_before, days = (max(1.0, (until - first) / timedelta(days=1)) for until in (earlier.cutoff, snapshot.cutoff))
    return {
        "fewest_lines": math.floor(0.95 * earlier.lines),
        "most_lines": math.ceil(2 * earlier.lines * days / days_before),
        "fewest_days": math.ceil(0.75 * earlier.active_days),
    }


def _number(snapshot: Snapshot) -> int:
    return int(snapshot.snapshot_id.removeprefix("s"))
