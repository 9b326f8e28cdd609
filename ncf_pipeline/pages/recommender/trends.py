"""The page `trends`: how good, how broad, how old and how clean, over weeks. Each trend is a chart, a table and a CSV.

A trend asks the database once. Each of its points leads to what made it: a version, a run, or a batch.
"""

import csv
import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, get_args

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, Response

from ncf_pipeline.errors import NcfError
from ncf_pipeline.evaluation.scores import QUESTIONS
from ncf_pipeline.pages.headers import headers, policy
from ncf_pipeline.pages.locales import count, percent
from ncf_pipeline.pages.recommender.charts import Chart, Series, Value, chart, thinned
from ncf_pipeline.pages.recommender.exposure import exposure
from ncf_pipeline.pages.recommender.work import RETRAIN, Desk, Made, Show
from ncf_pipeline.serving.sales import DAYS, lines_by_day
from ncf_pipeline.serving.spreadsheets import unrun
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

logger = logging.getLogger(__name__)

MOST = 26
"""How many retrains, windows and publications a chart shows."""

_CSV_POLICY = policy()


@dataclass(frozen=True)
class Point:
    """One value of a trend.

    Attributes:
        at: its label: a version, a window's end or a day.
        series: index of its series, from 0.
        value: the value.
        low: lower end of its 95% interval; None without an interval.
        high: upper end.
        what: where its link leads to, in words; empty without one.
        link: relative to the pages; None without one.
        run: id of the run of the retrain that made it; None if none did.
        made: the batch or the publication that it is about, whose run Airflow knows; None if it is about neither.
    """

    at: str
    series: int
    value: float
    low: float | None = None
    high: float | None = None
    what: str = ""
    link: str | None = None
    run: str | None = None
    made: tuple[Made, int] | None = None


@dataclass(frozen=True)
class Trend:
    """One trend, and how it is read.

    Attributes:
        name: in addresses: `trends-NAME` and `trends-NAME.csv`.
        title: its heading.
        means: what its values are, in a sentence.
        series: names of its series; at most two.
        read: reads its points, oldest first.
        words: writes a value.
    """

    name: str
    title: str
    means: str
    series: tuple[str, ...]
    read: Callable[[Settings], list[Point]]
    words: Callable[[float], str]


def _precision(settings: Settings) -> list[Point]:
    return [
        Point(
            f"v{row.version}", QUESTIONS.index(row.question), row.precision_at_k, row.precision_low,
            row.precision_high, f"v{row.version}", f"models/v{row.version}", _run(row.run_key),
        )
        for row in read_rows(settings, "trend_candidates", count=MOST)
    ]  # fmt: skip


def _coverage(settings: Settings) -> list[Point]:
    return [
        Point(
            f"v{row.version}", QUESTIONS.index(row.question), row.catalog_coverage, None, None,
            f"v{row.version}", f"models/v{row.version}", _run(row.run_key),
        )
        for row in read_rows(settings, "trend_candidates", count=MOST)
    ]  # fmt: skip


def _live(settings: Settings) -> list[Point]:
    points = []
    for row in read_rows(settings, "trend_live", count=MOST):
        for place, question in enumerate(QUESTIONS):
            found = row.figures["precision"].get(question) or {}
            if found.get("live") is not None:
                points.append(
                    Point(
                        f"{row.bought_until:%Y-%m-%d}", place, found["live"], found.get("low"), found.get("high"),
                        *_lists(row),
                    )
                )  # fmt: skip
    return points


def _ages(settings: Settings) -> list[Point]:
    return [
        Point(
            f"{row.began_at.astimezone(UTC):%Y-%m-%d %H:%M}", 0, row.hours, None, None, *_lists(row)
        )
        for row in read_rows(settings, "trend_ages", count=MOST)
    ]  # fmt: skip


def _quarantine(settings: Settings) -> list[Point]:
    rows = read_rows(settings, "trend_batches", count=DAYS)[::-1]
    return [
        Point(f"{row.day:%Y-%m-%d}", 0, row.lines_quarantined / row.lines_read, None, None, *_batch(row.batch_id))
        for row in rows
        if row.lines_read
    ]


def _loaded(settings: Settings) -> list[Point]:
    rows = read_rows(settings, "trend_batches", count=DAYS)[::-1]
    return [Point(f"{row.day:%Y-%m-%d}", 0, float(row.lines_read), None, None, *_batch(row.batch_id)) for row in rows]


def _traded(settings: Settings) -> list[Point]:
    return [Point(f"{day:%Y-%m-%d}", 0, float(lines)) for day, lines in lines_by_day(settings)]


def _run(run_key: str) -> str | None:
    """A version that a command trained has a key of its own, which is no run of Airflow."""
    return run_key if "__" in run_key else None


def _lists(row: Any) -> tuple[str, str, None, tuple[Made, int]]:
    return f"p{row.number:06d} of v{row.version}", f"models/v{row.version}", None, ("publication", row.number)


def _batch(batch_id: int | None) -> tuple[str, str | None, None, tuple[Made, int] | None]:
    if batch_id is None:
        return "", None, None, None
    return f"batch {batch_id}", f"data-docs/invoices/batch-{batch_id:06d}.html", None, ("batch", batch_id)


def _runs(desk: Desk | None, points: Iterable[Point]) -> dict[Point, tuple[str, str]]:
    """The DAG and the run that made each point; without those that no run made, or of which Airflow cannot say it."""
    if desk is None:
        return {}
    points = list(points)
    found = {each: (RETRAIN, each.run) for each in points if each.run}
    for what in get_args(Made):
        about = {each: each.made[1] for each in points if each.made is not None and each.made[0] == what}
        try:
            runs = desk.orchestrator.runs_that_made(what, set(about.values())) if about else {}
        except NcfError as error:
            logger.warning("%s", error)
            continue
        found |= {each: runs[number] for each, number in about.items() if number in runs}
    return found


def _share(value: float) -> str:
    return f"{value:.4f}"


def _percent(value: float) -> str:
    return percent(value, 2)


def _count(value: float) -> str:
    return count(round(value))


def _hours(value: float) -> str:
    return f"{count(round(value, 1))} h"


TRENDS = (
    Trend("precision", "Precision@K of candidates", "Each candidate on four weeks that it was not trained on.",
          ("for_you", "discover"), _precision, _share),
    Trend("live", "Precision@K of live lists", "What customers bought while the lists were live, by the window's end.",
          ("for_you", "discover"), _live, _share),
    Trend("coverage", "Coverage of the catalogue", "The share of all products that some customer's list shows.",
          ("for_you", "discover"), _coverage, _percent),
    Trend("age", "How old lists became", "Hours that each publication was live, until now for the last one.",
          ("hours",), _ages, _hours),
    Trend("quarantine", "Quarantine rate", "The share of the lines read on a day that broke a critical rule.",
          ("share",), _quarantine, _percent),
    Trend("loaded", "Lines loaded a day", "Lines that were read, by the day of loading, UTC.",
          ("lines",), _loaded, _count),
    Trend("lines", "Lines sold a day", "Invoice lines by the day on the invoice, on the shop's clock.",
          ("lines",), _traded, _count),
)  # fmt: skip
"""In the order of the page."""

_BY_NAME = {trend.name: trend for trend in TRENDS}
Name = Annotated[str, Path(pattern="^[a-z]+$")]


def routes(settings_of: Callable[[], Settings], desk: Desk | None, seen_by: Sequence[Any], show: Show) -> APIRouter:
    """Makes the routes of the page, of each trend's table, and of its CSV.

    Args:
        settings_of: returns the settings of the installation.
        desk: knows where Airflow shows a run; None without Airflow.
        seen_by: dependencies that refuse users who may not see the pages.
        show: renders a template.
    """
    router = APIRouter(dependencies=list(seen_by))
    address = desk.orchestrator.address if desk is not None else None

    @router.get("/trends")
    def page(request: Request) -> HTMLResponse:
        """Every trend as a chart, and what the live lists show how often."""
        settings = settings_of()
        drawn = [_drawn(trend, settings) for trend in TRENDS]
        shown, error = None, None
        try:
            shown = exposure(settings)
        except NcfError as failure:
            logger.warning("%s", failure)
            error = settings.without_secrets(str(failure))
        made = [Point("", 0, 0, made=("publication", shown.number))] if shown is not None else []
        found: dict[str, Any] = {"trends": drawn, "exposure": shown, "exposure_error": error}
        found |= {"runs": _runs(desk, made).values(), "address": address}
        is_away = error is not None and all(each["error"] for each in drawn)
        return show(request, "trends", status=503 if is_away else 200, is_away=is_away, **found, at=datetime.now(UTC))

    @router.get("/trends-exposure.csv")
    def exposure_csv() -> Response:
        """How often the live lists show each product, and to customers of which countries."""
        shown = exposure(settings_of())
        if shown is None:
            raise HTTPException(404, "No lists are live, so nothing is shown.")
        rows: list[Sequence[Any]] = [("all customers", "", each.stock_code, each.share) for each in shown.products]
        rows += [("country", place.country, place.top.stock_code, place.top.share) for place in shown.countries]
        return _csv("exposure", ("shown to", "country", "stock_code", "share of customers"), rows)

    @router.get("/trends-{name}.csv")
    def as_csv(name: Name) -> Response:
        """A trend's points as CSV."""
        trend = _trend(name)
        head = ("at", "series", "value", "low", "high", "made by", "run")
        points = trend.read(settings_of())
        runs = _runs(desk, points)
        rows = [
            (
                each.at,
                trend.series[each.series],
                each.value,
                each.low,
                each.high,
                each.what,
                runs.get(each, ("", each.run))[1],
            )
            for each in points
        ]
        return _csv(name, head, rows)

    @router.get("/trends-{name}")
    def table(request: Request, name: Name) -> HTMLResponse:
        """A trend's points as a table, each with a link to what made it."""
        trend = _trend(name)
        points = trend.read(settings_of())[::-1]
        return show(request, "trend", trend=trend, points=points, run_of=_runs(desk, points), address=address)

    return router


def _trend(name: str) -> Trend:
    if name not in _BY_NAME:
        raise HTTPException(404, f"There is no trend {name}. The page lists them all.")
    return _BY_NAME[name]


def _drawn(trend: Trend, settings: Settings) -> dict[str, Any]:
    """A trend with its chart. If it cannot be read, it says why, and the others are not affected."""
    try:
        points = trend.read(settings)
    except NcfError as error:
        logger.warning("%s", error)
        return {"trend": trend, "chart": None, "error": settings.without_secrets(str(error))}
    return {"trend": trend, "chart": _chart(trend, points) if points else None, "error": None}


def _chart(trend: Trend, points: Sequence[Point]) -> Chart:
    labels = list(dict.fromkeys(each.at for each in points))
    places = {label: place for place, label in enumerate(labels)}
    series = []
    for index in range(len(trend.series)):
        values = [
            Value(places[each.at], each.value, each.low, each.high, "") for each in points if each.series == index
        ]
        series.append(Series("second" if index else "lists", values, 0 if len(trend.series) == 1 else 8 * index - 4))
    newest = [f"{trend.series[each.series]} {trend.words(each.value)}" for each in points if each.at == labels[-1]]
    summary = (
        f"{len(labels)} points from {labels[0]} to {labels[-1]}. The newest: {', '.join(newest)}. "
        f"The lowest is {trend.words(min(each.value for each in points))}, "
        f"the highest {trend.words(max(each.value for each in points))}."
    )
    return chart(trend.title, summary, thinned(labels), series)


def _csv(name: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(head)
    writer.writerows([unrun(cell) for cell in row] for row in rows)
    given: Mapping[str, str] = {"Content-Disposition": f'attachment; filename="trends-{name}.csv"'}
    return Response(file.getvalue(), media_type="text/csv; charset=utf-8", headers={**headers(_CSV_POLICY), **given})
