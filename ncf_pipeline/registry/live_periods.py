"""Which lists were live when, and how they performed: `ml.live_period`, `ml.live_performance`, `ml.drift_report`.

There are two clocks. Wall-clock time says when a publication was live. The shop's clock, by which purchases are dated,
says which lists a purchase answers. If past days are replayed, the two are years apart. Migration 0016 decides, when a
period begins, which clock says what it answers.

Every function here raises SettingsError if no database is set and the embedded one does not run, and DatabaseError if
Postgres cannot be reached or refuses.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ncf_pipeline.columns import Lists
from ncf_pipeline.registry.snapshots import loaded_until
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import (
    execute,
    query_records,
    query_rows,
    read_records,
    read_rows,
    transaction,
    write,
)
from ncf_pipeline.storage.files import open_file, store_error, store_errors
from ncf_pipeline.storage.resources import query


@dataclass(frozen=True)
class LivePeriod:
    """A period in which one publication was live without interruption.

    Attributes:
        period: its number, ascending.
        number: of the publication.
        version: of the model that made the lists.
        as_of: the first instant whose purchases the lists do not know.
        url: of the lists, a Parquet file.
        began_by: `publication`, or `flip` if the pointer moved to lists that Redis still held.
        began_at: in wall-clock time.
        ended_at: in wall-clock time; None while it is live.
        answers_from: on the shop's clock: the first instant whose purchases these lists answer.
        experiment: number of the experiment for whose groups the lists were made, if there was one.
        answers_until: on the shop's clock: the first instant that they no longer answer; None while they are live.
        clock: `wall` if the shop trades in real time: the lists answer what was bought while they were live, loaded or
            not. `invoices` if past days are replayed.
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
    clock: str


def live_periods(settings: Settings) -> list[LivePeriod]:
    """All live periods, oldest first. No purchase is answered by two of them, and some by none."""
    return read_records(settings, LivePeriod, "live_periods", version=None, answering=False, most=None)[::-1]


@dataclass(frozen=True)
class KnownOf:
    """How much of what a period answers is known; all instants on the shop's clock.

    Attributes:
        number: of the publication.
        version: of the model that made the lists.
        began_by: `publication` or `flip`.
        began_at: in wall-clock time.
        ended_at: in wall-clock time; None while it is live.
        clock: `wall` or `invoices`, as of `LivePeriod`.
        answers_from: the first instant whose purchases these lists answer.
        answers_until: the first instant that they no longer answer; None while they are live.
        measured_until: purchases before it are in `ml.live_performance`; None if none of the period's are.
        not_loaded_from: purchases from it on are unknown, because they are not loaded yet; None if all are loaded.
    """

    number: int
    version: int
    began_by: str
    began_at: datetime
    ended_at: datetime | None
    clock: str
    answers_from: datetime
    answers_until: datetime | None
    measured_until: datetime | None
    not_loaded_from: datetime | None

    @property
    def answers_nothing(self) -> bool:
        """Whether the next lists took over before these answered anything."""
        return self.answers_until is not None and self.answers_until <= self.answers_from

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in vars(self).items()}


def known_of(period: LivePeriod, *, measured_until: datetime | None, loaded_until: datetime | None) -> KnownOf:
    """How much is known of a period. Pure.

    Args:
        period: which one.
        measured_until: end of the last measured window; None before the first.
        loaded_until: the instant just after the newest invoice; None if there are none.
    """
    start, end = period.answers_from, period.answers_until
    measured = min(filter(None, (measured_until, end))) if measured_until is not None else start
    missing = max(start, loaded_until) if loaded_until is not None else start
    return KnownOf(
        number=period.number,
        version=period.version,
        began_by=period.began_by,
        began_at=period.began_at,
        ended_at=period.ended_at,
        clock=period.clock,
        answers_from=start,
        answers_until=end,
        measured_until=measured if measured > start else None,
        not_loaded_from=missing if end is None or missing < end else None,
    )


def known_periods(settings: Settings, version: int | None = None) -> list[KnownOf]:
    """How much is known of each period, oldest first.

    Args:
        settings: whose registry.
        version: returns only this version's periods; all if None.
    """
    return _measured(settings, version=version, reports=1, periods=None)[1]


def measured(settings: Settings, most: int | None = None) -> tuple[list["DriftReport"], list[KnownOf]]:
    """The drift reports and how much is known of each period, both oldest first, of one state of the registry.

    Args:
        settings: whose registry.
        most: returns only so many of the newest reports, and of the newest periods that answered anything; all if None.
    """
    return _measured(settings, version=None, reports=most, periods=most)


def _measured(
    settings: Settings, *, version: int | None, reports: int | None, periods: int | None
) -> tuple[list["DriftReport"], list[KnownOf]]:
    with transaction(settings) as connection:
        newest = query_records(connection, DriftReport, "drift_reports", most=reports)[::-1]
        (invoices,) = query_rows(connection, "newest_invoice")
        asked = {"version": version, "answering": periods is not None, "most": periods}
        found = query_records(connection, LivePeriod, "live_periods", **asked)[::-1]
    until = newest[-1].bought_until if newest else None
    loaded = loaded_until(invoices.newest)
    return newest, [known_of(period, measured_until=until, loaded_until=loaded) for period in found]


def shown(period: LivePeriod, customers: Collection[str]) -> pd.DataFrame:
    """The lists of some customers, as they were published.

    Args:
        period: in which the lists were live.
        customers: ids; those without a list have no row.

    Returns:
        Columns of `columns.Lists`, without reasons.

    Raises:
        ArtifactError: the lists' file is gone or damaged, or the store cannot be reached.
    """
    wanted = [(Lists.AUDIENCE, "==", "customer"), (Lists.KEY, "in", set(customers) or {""})]
    columns = [Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES]
    try:
        with open_file(period.url) as file:
            lists: pd.DataFrame = pq.read_table(file, columns=columns, filters=wanted).to_pandas()
    except store_errors() as error:
        raise store_error(f"The lists of p{period.number:06d} cannot be read", error) from error
    return lists


def record_flip(settings: Settings, number: int) -> None:
    """Records that a publication is live again. Calling it twice changes nothing.

    A new publication needs no call: a trigger in the database records it.

    Raises:
        DatabaseError: there is no such publication.
    """
    write(settings, "record_flip", number=number, timezone=settings.shop_timezone)


def record_certainty(settings: Settings, number: int, counts: Sequence[int] | None) -> None:
    """Stores how certain the model was of a publication's lists.

    Args:
        settings: whose registry.
        number: of the publication.
        counts: from `model.lists.certainty.Certainty`; None if they were not counted.
    """
    write(settings, "record_certainty", number=number, counts=list(counts) if counts is not None else None)


def certainty(settings: Settings, number: int) -> list[int] | None:
    """The counts that `record_certainty` stored of a publication; None if they were not counted."""
    rows = read_rows(settings, "certainty", number=number)
    return rows[0].certainty if rows else None


@dataclass(frozen=True)
class DriftReport:
    """What a retrain measured of the live lists when it began; one row of `ml.drift_report`.

    Attributes:
        snapshot_id: of the retrain.
        period: number of the period that was live at the end of the window.
        bought_from: the window on the shop's clock: what was bought in `[bought_from, bought_until)`.
        bought_until: see `bought_from`.
        figures: JSON: every number and threshold.
        findings: what exceeds a threshold, in words.
    """

    snapshot_id: str
    period: int
    bought_from: datetime
    bought_until: datetime
    figures: dict[str, Any]
    findings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LivePerformance:
    """How one recommender performed in a slice of a live period, on one question; from `ml.live_performance`.

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
        period: number of the `LivePeriod`.
        place: position among the rows of its slice, in the order in which they are shown.
    """

    period: int
    place: int


@dataclass(frozen=True, kw_only=True)
class PublicationPerformance(LivePerformance):
    """As it is read.

    Attributes:
        version: of the model that made the lists.
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
    """Stores a report and the performance in its window, in place of an earlier try's, in one transaction.

    Args:
        settings: whose registry.
        report: of the window.
        rows: how the lists that were live in the window performed.
    """
    kept = {**vars(report), "figures": json.dumps(report.figures), "findings": list(report.findings)}
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("lock table ml.drift_report in share row exclusive mode")
        execute(connection, "delete_live_performance", bought_from=report.bought_from, bought_until=report.bought_until)
        cursor.executemany(query("insert_live_performance"), [asdict(row) for row in rows])
        execute(connection, "record_drift_report", **kept)


def drift_reports(settings: Settings) -> list[DriftReport]:
    """All drift reports, oldest window first."""
    return read_records(settings, DriftReport, "drift_reports", most=None)[::-1]


def newest_drift(settings: Settings, versions: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """What the newest drift report found while each version was live, in words; none of a version without a report."""
    rows = read_rows(settings, "drift_of_versions", versions=list(versions))
    return {row.version: tuple(row.findings) for row in rows}


def performance(settings: Settings, version: int | None = None) -> list[PublicationPerformance]:
    """How lists performed while they were live: a row for each slice, question and recommender, oldest first.

    Args:
        settings: whose registry.
        version: returns only this version's lists; all if None.
    """
    return read_records(settings, PublicationPerformance, "live_performance", version=version)
