"""The rules of `expectations/interactions.json`, asked about a snapshot before anything is trained on it.

They are asked about the Parquet as it was read back, for that is what is trained on, and it is in memory then anyway:
on the 400,000 purchases of a real year that takes about a second and 130 MB beside the library.
"""

import logging
import math
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from psycopg2.extras import Json

from ncf_pipeline.columns import Interactions, Products
from ncf_pipeline.errors import QualityError
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.registry.snapshots import Snapshot
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.resources import query

__all__ = ["check_snapshot"]

logger = logging.getLogger(__name__)

SUITE = "interactions"
RECENT = timedelta(days=7)
"""How far before the cutoff the newest purchase may be."""

LATE = timedelta(days=28)
"""The last days before the cutoff, of which those with purchases are counted."""

SETTLED_AT = "settled_at"
DAY_OF_LATE = "day_of_late"


def check_snapshot(settings: Settings, frozen: Snapshot) -> dict[str, Any]:
    """Asks every rule about a snapshot, logs those that failed, and keeps the answer in its record.

    Args:
        settings: whose database; the table of excluded stock codes is read as it is now.
        frozen: as read back from the artifact store.

    Returns:
        What is kept as `ml.snapshot.report`: `rules` (how many were asked), `worst` (the highest severity that
        failed), `broken` (as `quality.BrokenRule`, the worst first), `lines`, and `active_days` of the last 28.

    Raises:
        QualityError: it broke a critical rule. Nothing was trained on it.
    """
    frame = _with_instants(frozen.interactions, frozen.cutoff)
    figures = {"lines": len(frame), "active_days": int(frame[DAY_OF_LATE].nunique()) if DAY_OF_LATE in frame else 0}
    parameters = {
        "cutoff": frozen.cutoff,
        "recent": frozen.cutoff - RECENT,
        **_foreign_codes(settings, frozen),
        **_bounds(settings, frozen),
    }
    verdict = quality.check_frame(frame, SUITE, parameters=parameters)
    report = {**verdict.as_dict(), **figures}
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("record_snapshot_report"), {"snapshot_id": _number(frozen), "report": Json(report)})
    quality.log_failures(verdict, frozen.snapshot_id)
    if verdict.worst == "critical":
        raise QualityError(
            quality.refusal(verdict, frozen.snapshot_id, "Nothing was trained; what serves still serves")
        )
    logger.info("%s: %d rules asked of %d purchases.", frozen.snapshot_id, verdict.rules, len(frame))
    return report


def _with_instants(interactions: pd.DataFrame, cutoff: datetime) -> pd.DataFrame:
    """The columns of `columns.Interactions`, when a purchase last changed, and its day if that is of late."""
    if not {Interactions.PURCHASED_AT, Interactions.RETURNED_AT} <= set(interactions):
        return interactions  # the rule on columns says so
    purchased_at, returned_at = interactions[Interactions.PURCHASED_AT], interactions[Interactions.RETURNED_AT]
    return interactions.assign(
        **{
            SETTLED_AT: returned_at.fillna(purchased_at),
            DAY_OF_LATE: purchased_at.dt.floor("D").where(purchased_at >= cutoff - LATE),
        }
    )


def _foreign_codes(settings: Settings, frozen: Snapshot) -> dict[str, list[str]]:
    """Stock codes of the interactions that stand for no product, and those that the snapshot's products lack.

    Both are mostly empty: the library copies long lists of values many times.
    """
    if Interactions.STOCK_CODE not in frozen.interactions:
        return {"excluded": [], "strangers": []}
    codes = sorted(frozen.interactions[Interactions.STOCK_CODE].dropna().unique())
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("excluded_among"), {"stock_codes": codes})
        excluded = [code for (code,) in cursor.fetchall()]
    return {"excluded": excluded, "strangers": sorted(set(codes) - set(frozen.products[Products.STOCK_CODE]))}


def _bounds(settings: Settings, frozen: Snapshot) -> dict[str, int | None]:
    """What is as usual by the newest good snapshot with an earlier cutoff; no bounds where there is none."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("snapshot_before"), {"snapshot_id": _number(frozen), "cutoff": frozen.cutoff})
        before = cursor.fetchone()
    if before is None or Interactions.PURCHASED_AT not in frozen.interactions or frozen.interactions.empty:
        return {"fewest_lines": 0, "most_lines": None, "fewest_days": 0}
    cutoff, lines, active_days = before
    first = frozen.interactions[Interactions.PURCHASED_AT].min()
    days_before, days = (max(1.0, (until - first) / timedelta(days=1)) for until in (cutoff, frozen.cutoff))
    return {
        "fewest_lines": math.floor(0.95 * lines),
        "most_lines": math.ceil(2 * lines * days / days_before),
        "fewest_days": math.ceil(0.75 * active_days),
    }


def _number(frozen: Snapshot) -> int:
    return int(frozen.snapshot_id.removeprefix("s"))
