"""What was live when, and what it did: `ml.live_period`, `ml.live_performance`, `ml.drift_report`.

Two clocks. The one on the wall says who served when. The shop's, on which purchases have their instants, says which
lists a purchase is an answer to; where past days are replayed, the two are years apart. Migration 0009 has the rule
by which a period begins.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import fsspec
import pandas as pd
import pyarrow.parquet as pq

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import execute, read_records, read_rows, transaction, write
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
    return read_records(settings, LivePeriod, "live_periods")


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
    write(settings, "record_flip", number=number)


def record_certainty(settings: Settings, number: int, counts: Sequence[int] | None) -> None:
    """Keeps `model.certainty.Certainty.counts` of a publication's lists; None where nobody counted."""
    write(settings, "record_certainty", number=number, counts=list(counts) if counts is not None else None)


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


@dataclass(frozen=True, kw_only=True)
class LivePerformance:
    """What one recommender's lists did in a slice of a live period, on one question; from `ml.live_performance`.

    Attributes:
        bought_from: the slice, on the shop's clock: what was bought in `[bought_from, bought_until)`.
        bought_until: see `bought_from`.
        question: `for_you` or `discover`.
        recommender: `live`, or what the shop could have shown instead.
        k: depth of everything but NDCG.
        customers: known customers who bought something that the question asks for; the means are over them.
        without_list: those of them who had no list; they score 0.
        newcomers: customers who first bought after the lists were made; they do not count.
        precision_at_k: mean Precision@k; None, as all below, if there were no customers.
        precision_low: lower end of its 95% interval over customers.
        precision_high: upper end.
        ahead: mean of the live lists' Precision@k minus this one's, customer by customer; None for the live lists.
        ahead_low: lower end of its 95% interval.
        ahead_high: upper end.
        recall_at_k: mean Recall@k.
        ndcg_at_10: mean NDCG@10.
    """

    bought_from: datetime
    bought_until: datetime
    question: str
    recommender: str
    k: int
    customers: int
    without_list: int
    newcomers: int
    precision_at_k: float | None
    precision_low: float | None
    precision_high: float | None
    ahead: float | None
    ahead_low: float | None
    ahead_high: float | None
    recall_at_k: float | None
    ndcg_at_10: float | None


@dataclass(frozen=True, kw_only=True)
class PeriodPerformance(LivePerformance):
    """As it is recorded.

    Attributes:
        period: see `LivePeriod`.
        place: among the rows of its slice, in the order in which they are shown.
    """

    period: int
    place: int


@dataclass(frozen=True, kw_only=True)
class PublicationPerformance(LivePerformance):
    """As it is read.

    Attributes:
        version: whose lists were live.
        number: of their publication.
    """

    version: int
    number: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {
            "bought_from": self.bought_from.isoformat(),
            "bought_until": self.bought_until.isoformat(),
        }


def record_measurement(settings: Settings, report: DriftReport, rows: Sequence[PeriodPerformance]) -> None:
    """Keeps a report, and what the lists of its window did, in place of an earlier try's; in one transaction.

    Args:
        settings: whose registry.
        report: of the window.
        rows: what the lists of the window did.
    """
    kept = {**vars(report), "figures": json.dumps(report.figures), "findings": list(report.findings)}
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("lock table ml.drift_report in share row exclusive mode")
        execute(connection, "delete_live_performance", bought_from=report.bought_from, bought_until=report.bought_until)
        cursor.executemany(query("insert_live_performance"), [asdict(row) for row in rows])
        execute(connection, "record_drift_report", **kept)


def drift_reports(settings: Settings) -> list[DriftReport]:
    """What was found so far, oldest window first."""
    return read_records(settings, DriftReport, "drift_reports")


def performance(settings: Settings, version: int | None = None) -> list[PublicationPerformance]:
    """What lists did while they were live: a row for each slice, question and recommender, oldest first.

    Args:
        settings: whose registry.
        version: only lists of this one.
    """
    rows = read_records(settings, PublicationPerformance, "live_performance")
    return [row for row in rows if version is None or row.version == version]
