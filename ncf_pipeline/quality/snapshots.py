"""The rules of `expectations/interactions.json`, checked on a snapshot before anything is trained on it.

They are checked on the Parquet files as read back, because training reads those; of a large shop, a part at a time
(`parts`). For the 400,000 purchases of a real year this takes about a second and 130 MB beside the library.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import pandas as pd
from psycopg2.extras import Json

from ncf_pipeline.columns import Interactions, Products
from ncf_pipeline.errors import QualityError
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.quality.parts import CheckInParts
from ncf_pipeline.quality.suites import BrokenRule, Severity
from ncf_pipeline.registry.snapshot_files import INTERACTIONS
from ncf_pipeline.registry.snapshots import lines_in_order
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


class Purchases(Protocol):
    """A snapshot, in memory or read part by part: `Snapshot` or `SnapshotInParts` of `registry.snapshots`."""

    @property
    def snapshot_id(self) -> str: ...
    @property
    def cutoff(self) -> datetime: ...
    @property
    def products(self) -> pd.DataFrame: ...
    def parts(self) -> Iterator[pd.DataFrame]: ...


def check_snapshot(settings: Settings, snapshot: Purchases) -> SnapshotReport:
    """Checks every rule on a snapshot, logs the rules that failed, and keeps the report in the snapshot's record.

    One part of it is in memory at a time.

    Args:
        settings: whose database; the table of excluded stock codes is read as it is now.
        snapshot: as read back from the artifact store.

    Returns:
        The report that was kept.

    Raises:
        QualityError: the snapshot broke a critical rule, or a rule could not be checked. Nothing is trained on it.
        ArtifactError: its files are gone or damaged. There is no report.
    """
    check, foreign = CheckInParts(SUITE, in_order=_in_order), _ForeignCodes(settings, snapshot.products)
    instants = {"cutoff": snapshot.cutoff, "recent": snapshot.cutoff - RECENT}
    first: datetime | None = None
    for part in snapshot.parts():
        check.add(_with_instants(part, snapshot.cutoff), {**instants, **foreign.among(part)})
        if Interactions.PURCHASED_AT in part:
            began = part[Interactions.PURCHASED_AT].min()
            if pd.notna(began) and (first is None or began < first):
                first = began
    verdict = check.verdict({**instants, **_bounds(settings, snapshot, first)})
    report = SnapshotReport(
        rules=verdict.rules,
        worst=verdict.worst,
        broken=tuple(verdict.broken),
        lines=check.lines,
        active_days=check.distinct(DAY_OF_LATE),
    )
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            query("record_snapshot_report"), {"snapshot_id": _number(snapshot), "report": Json(report.as_dict())}
        )
    quality.log_failures(verdict, snapshot.snapshot_id)
    if verdict.worst == "critical":
        consequence = "Nothing was trained; the live model stays live"
        raise QualityError(quality.refusal(verdict, snapshot.snapshot_id, consequence))
    logger.info("%s: %d rules checked on %d purchases.", snapshot.snapshot_id, verdict.rules, check.lines)
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


class _ForeignCodes:
    """Stock codes of interactions that are excluded, and those that are not among the snapshot's products.

    Both are mostly empty. They are found here because the library copies long lists of values many times. The database
    is asked about each code once, so a code is the same in each part.
    """

    def __init__(self, settings: Settings, products: pd.DataFrame) -> None:
        self._settings = settings
        self._products = set(products[Products.STOCK_CODE])
        self._asked = set[str]()
        self._excluded = set[str]()

    def among(self, part: pd.DataFrame) -> dict[str, list[str]]:
        """Those of a part's codes, as parameters of the rules."""
        if Interactions.STOCK_CODE not in part:
            return {"excluded": [], "strangers": []}
        codes = set(part[Interactions.STOCK_CODE].dropna().unique())
        asked = sorted(codes - self._asked)
        self._asked.update(asked)
        self._excluded |= {row.stock_code for row in read_rows(self._settings, "excluded_among", stock_codes=asked)}
        return {"excluded": sorted(codes & self._excluded), "strangers": sorted(codes - self._products)}


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of different parts, as they follow each other in the whole snapshot; as they are if a column is missing."""
    if not set(INTERACTIONS) <= set(rows):
        return rows
    return lines_in_order(rows)


def _bounds(settings: Settings, snapshot: Purchases, first: datetime | None) -> dict[str, int | None]:
    """What is usual, by the newest good snapshot with no later cutoff; no bounds if there is none.

    Args:
        settings: of the shop.
        snapshot: that is checked.
        first: instant of its first purchase; None without purchases.
    """
    before = read_rows(settings, "snapshot_before", snapshot_id=_number(snapshot), cutoff=snapshot.cutoff)
    if not before or first is None:
        return {"fewest_lines": 0, "most_lines": None, "fewest_days": 0}
    (earlier,) = before
    days_before, days = (max(1.0, (until - first) / timedelta(days=1)) for until in (earlier.cutoff, snapshot.cutoff))
    return {
        "fewest_lines": math.floor(0.95 * earlier.lines),
        "most_lines": math.ceil(2 * earlier.lines * days / days_before),
        "fewest_days": math.ceil(0.75 * earlier.active_days),
    }


def _number(snapshot: Purchases) -> int:
    return int(snapshot.snapshot_id.removeprefix("s"))
