"""What was live when, and what it did: `ml.live_period`, `ml.live_performance`, `ml.drift_report`.

Two clocks. The one on the wall says who served when. The shop's, on which purchases have their instants, says which
lists a purchase is an answer to; where past days are replayed, the two are years apart. Migration 0009 has the rule
by which a period begins.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fsspec
import pandas as pd
import pyarrow.parquet as pq

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows, transaction
from ncf_pipeline.storage.files import store_errors
from ncf_pipeline.storage.resources import query


@dataclass(frozen=True)
class LivePeriod:
    """One publication, for as long as it was what shoppers saw.

    Attributes:
        period: its number, ascending.
        number: of the publication.
        version: whose lists.
        as_of: first instant whose purchases the lists do not know.
        url: the lists, as Parquet.
        began_by: `publication`, or `flip` where the pointer went back or forward to lists that were still held.
        began_at: on the wall.
        ended_at: likewise; None while it is live.
        answers_from: on the shop's clock: the first instant whose purchases these lists answer.
        experiment: whose groups the lists were made for, if any.
        answers_until: the first that they do not answer any more; None while they are live.
    """

    period: int
    number: int
    version: int
    as_of: datetime
    url: str
    began_by: str
    began_at: datetime
    ended_at: datetime | None
    answers_from: datetime
    experiment: int | None
    answers_until: datetime | None


def live_periods(settings: Settings) -> list[LivePeriod]:
    """Who was live when, oldest first; without a gap."""
    return [LivePeriod(*row) for row in read_rows(settings, "live_periods")]


def shown(period: LivePeriod, customers: Collection[int]) -> pd.DataFrame:
    """The lists of some customers, as they were published.

    Raises:
        ArtifactError: they are no longer kept, or damaged.
    """
    wanted = [(Lists.AUDIENCE, "==", "customer"), (Lists.KEY, "in", {str(customer) for customer in customers} or {""})]
    columns = [Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES]
    try:
        with fsspec.open(period.url) as file:
            lists: pd.DataFrame = pq.read_table(file, columns=columns, filters=wanted).to_pandas()
    except store_errors() as error:
        raise ArtifactError(f"the lists of p{period.number:06d} cannot be read: {error}") from error
    return lists


def record_flip(settings: Settings, number: int) -> None:
    """Notes that a publication is live again.

    Said twice, it is noted once. A new publication needs no word: the database notes it by a trigger.

    Raises:
        DatabaseError: there is no such publication.
    """
    read_rows(settings, "record_flip", number=number)


def record_certainty(settings: Settings, number: int, counts: Sequence[int] | None) -> None:
    """Keeps `model.certainty.Certainty.counts` of a publication's lists; None where nobody counted."""
    read_rows(settings, "record_certainty", number=number, counts=list(counts) if counts is not None else None)


def certainty(settings: Settings, number: int) -> list[int] | None:
    """What was counted of a publication's lists; None where nobody did."""
    rows = read_rows(settings, "certainty", number=number)
    return rows[0].certainty if rows else None


@dataclass(frozen=True)
class DriftReport:
    """What a retrain found at its beginning; one row of `ml.drift_report`.

    Attributes:
        snapshot_id: of the retrain.
        period: what was live at the end of the window.
        bought_from: the window, on the shop's clock: all that was bought in `[bought_from, bought_until)`.
        bought_until: see `bought_from`.
        figures: every number and threshold.
        findings: what is beyond a threshold, in words.
    """

    snapshot_id: str
    period: int
    bought_from: datetime
    bought_until: datetime
    figures: dict[str, Any]
    findings: tuple[str, ...]


def record_measurement(settings: Settings, report: DriftReport, rows: Sequence[dict[str, Any]]) -> None:
    """Keeps a report, and what the lists of its window did, in place of an earlier try's; in one transaction.

    Args:
        settings: whose registry.
        report: of the window.
        rows: the columns of `ml.live_performance`.
    """
    window = {"bought_from": report.bought_from, "bought_until": report.bought_until}
    kept = {**vars(report), "figures": json.dumps(report.figures), "findings": list(report.findings)}
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("lock table ml.drift_report in share row exclusive mode")
        cursor.execute(query("delete_live_performance"), window)
        cursor.executemany(query("insert_live_performance"), rows)
        cursor.execute(query("record_drift_report"), kept)


def drift_reports(settings: Settings) -> list[DriftReport]:
    """What was found so far, oldest window first."""
    return [
        DriftReport(**{**row._asdict(), "findings": tuple(row.findings)})
        for row in read_rows(settings, "drift_reports")
    ]


def performance(settings: Settings, version: int | None = None) -> list[dict[str, Any]]:
    """What lists did while they were live: a row for each slice, question and recommender, oldest first.

    Args:
        settings: whose registry.
        version: only lists of this one.
    """
    rows = [dict(row._asdict()) for row in read_rows(settings, "live_performance")]
    return [row for row in rows if version is None or row["version"] == version]
