"""A drill for the gate: weekly retrains of a shop, some of them sabotaged. Writes which version served when, and why.

    python benchmarks/gate_drill.py [--data FOLDER_OR_WORKBOOK] [--weeks 11] [--sabotage 3=discover,5=country,...]

Each week a retrain runs, and then the week's invoices are ingested. If the candidate is held, the lists of what serves
(the champion, or version 0) are published anew, as after any ingest. The retrain is `training.retrain.run`, on an
embedded Postgres and Redis in a temporary `NCF_HOME`. A candidate is sabotaged in one of five ways; none raises an
error:

- `discover`: each product on a `discover` list is replaced with one drawn from the catalogue in 15 of 100 cases.
- `country`: customers of one country get each other's lists. It is the country with the most customers, or one that is
  named, as in `5=country:Germany`.
- `forgets`: the recipe knows nothing of the last 30 days, neither in training nor when it recommends.
- `labels`: the model is trained on shuffled products.
- `one-list`: the model recommends the same list to everyone.

The exit code is 1 if a sabotaged version served, or if an honest one was held. At the end, it rolls back one version
and forward again, and writes the history as Markdown.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ncf_pipeline.training import retrain  # before torch: it sets how torch's threads wait

import fastexcel  # isort: skip
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ncf_pipeline import synthetic
from ncf_pipeline.columns import Interactions, Lists
from ncf_pipeline.errors import QualityError
from ncf_pipeline.id_order import rank
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.local.services import serving
from ncf_pipeline.model.features.tables import FEATURES
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving.publication import live_publication
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import Rollback, rollback, version_before
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.distributed import train as honest_train

DISCOVER, COUNTRY, FORGETS, LABELS, ONE_LIST = "discover", "country", "forgets", "labels", "one-list"
WHAT = {
    LABELS: "trained on shuffled labels",
    ONE_LIST: "one list for everyone",
    FORGETS: "forgets the last 30 days",
    COUNTRY: "customers of a country shuffled",
    DISCOVER: "`discover` 15% worse",
}
"""The subtle ones last: in its first four weeks, a shop has no incumbent that has not seen the holdout."""

REPLACED = 0.15
"""Share of the products on `discover` lists that are replaced, so that about this share of precision is lost."""

FORGOTTEN = timedelta(days=30)

MARKS = {7_000_001 + place: kind for place, kind in enumerate(WHAT)}
"""A sabotaged model has one of these as its seed, so that it is known again after it was stored and loaded."""


@dataclass(frozen=True)
class Week:
    """One week's retrain.

    Attributes:
        week: its number, from 1.
        version: the candidate's.
        cutoff: first instant that the candidate did not see.
        sabotage: what was done to it, if anything: a key of `WHAT`, perhaps with a country after a colon.
        promoted: whether it served.
        serves: the version that serves after the retrain; None if none does.
        reasons: the gate's.
        refused: whether the gate let it through, and the rules of lists refused what it made.
        seconds: of the retrain.
    """

    week: int
    version: int
    cutoff: datetime
    sabotage: str | None
    promoted: bool
    serves: int | None
    reasons: tuple[str, ...]
    refused: bool
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether the gate held what was sabotaged, and let through what was not."""
        return self.promoted != (self.sabotage is not None)


@contextmanager
def sabotaged(sabotage: str | None) -> Iterator[None]:
    """Breaks the candidate of one retrain."""
    kind, _, country = (sabotage or "").partition(":")
    if not kind:
        yield
        return
    mark = next(mark for mark, of_kind in MARKS.items() if of_kind == kind)

    def train(interactions: pd.DataFrame, cutoff: datetime, *arguments: Any, **options: Any) -> TrainedModel:
        if kind == LABELS:
            codes = interactions[Interactions.STOCK_CODE].to_numpy(copy=True)
            np.random.default_rng(0).shuffle(codes)
            interactions = interactions.assign(**{Interactions.STOCK_CODE: codes})
        if kind == FORGETS:
            interactions = interactions[interactions[Interactions.PURCHASED_AT] < cutoff - FORGOTTEN]
        model = honest_train(interactions, cutoff, *arguments, **options)
        if kind == ONE_LIST:
            with torch.no_grad():
                for parameter in model.network.parameters():
                    parameter.zero_()
                model.network.linear.weight[:, FEATURES.index("buyer_share")] = 1
            model = model.network_alone()
        return replace(model, recipe=replace(model.recipe, seed=mark))

    with patch.object(retrain, "train", train), patch.object(ListMaker, "shuffled_country", country, create=True):
        yield


@contextmanager
def lists_as_sabotaged() -> Iterator[None]:
    """Makes the lists of sabotaged models worse, wherever they are made; all others stay as they are."""
    honest_start, honest_customers = ListMaker.__init__, ListMaker.customers

    def start(
        self: ListMaker, model: TrainedModel | None, interactions: pd.DataFrame, as_of: datetime, *rest: Any
    ) -> None:
        vars(self)["sabotage"] = kind = MARKS.get(model.recipe.seed) if model is not None else None
        if kind == FORGETS:
            interactions = interactions[interactions[Interactions.PURCHASED_AT] < as_of - FORGOTTEN]
        if kind == DISCOVER:
            before = interactions[interactions[Interactions.PURCHASED_AT] < as_of]
            vars(self)["bought"] = before.groupby(Interactions.CUSTOMER_ID)[Interactions.STOCK_CODE].agg(set)
        honest_start(self, model, interactions, as_of, *rest)

    def customers(self: ListMaker, *arguments: Any, **options: Any) -> Iterator[pd.DataFrame]:
        kind = vars(self)["sabotage"]
        for lists in honest_customers(self, *arguments, **options):
            if kind == DISCOVER:
                yield _with_strangers(lists, self.state.events.products.astype(str), vars(self)["bought"])
            elif kind == COUNTRY:
                yield _shuffled(lists, self.countries(), getattr(self, "shuffled_country", ""))
            else:
                yield lists

    with patch.object(ListMaker, "__init__", start), patch.object(ListMaker, "customers", customers):
        yield


def _with_strangers(lists: pd.DataFrame, catalogue: npt.NDArray[np.str_], bought: pd.Series) -> pd.DataFrame:
    """`discover` lists with a share of their products replaced, by products that are new to the customer as well."""
    random = np.random.default_rng(0)

    def degraded(customer: str, codes: Sequence[str]) -> list[str]:
        never = bought.get(customer, set()).union(codes)
        drawn = dict.fromkeys(random.choice(catalogue, 10 * len(codes)).tolist())
        strangers = iter([code for code in drawn if code not in never])
        return [
            next(strangers, code) if gone else code
            for code, gone in zip(codes, random.random(len(codes)) < REPLACED, strict=True)
        ]

    new = [
        degraded(key, codes) if name == DISCOVER else codes
        for key, name, codes in zip(lists[Lists.KEY], lists[Lists.LIST_NAME], lists[Lists.STOCK_CODES], strict=True)
    ]
    return lists.assign(**{Lists.STOCK_CODES: pd.Series(new, lists.index)})


def _shuffled(lists: pd.DataFrame, countries: Mapping[str, str | None], country: str) -> pd.DataFrame:
    """Lists in which the customers of a country have each other's."""
    country = country or Counter(name for name in countries.values() if name is not None).most_common(1)[0][0]
    theirs = lists[Lists.KEY].map(lambda key: countries.get(key) == country).to_numpy(bool)
    keys = lists.loc[theirs, Lists.KEY].unique()
    other = dict(zip(keys, np.random.default_rng(0).permutation(keys), strict=True))
    changed = lists.assign(**{Lists.KEY: lists[Lists.KEY].map(lambda key: other.get(key, key))})
    return changed.sort_values(Lists.KEY, key=lambda keys: keys.map(rank), kind="stable", ignore_index=True)


def weekly_retrain(settings: Settings, week: int, sabotage: str | None) -> tuple[retrain.Outcome, str | None]:
    """Retrains for one week; if the candidate does not serve, publishes the lists of what serves anew.

    Returns:
        How it ended, and why the lists were refused although the gate let the candidate through; None if they were not.
    """
    refused = None
    with sabotaged(sabotage):
        try:
            outcome = retrain.run(settings, run_key=f"week {week}", requested_by="gate drill")
        except QualityError as error:
            # The rules of lists are the next barrier. The version is the champion by now, and the previous lists are
            # live: on-call rolls back.
            outcome, refused = retrain.Outcome(registry.model_versions(settings)[0].version, None), str(error)
            if version_before(settings, registry.champion(settings)) is not None:
                rollback(settings, actor="gate drill")
    if outcome.publication is None and registry.champion(settings) != registry.model_version(settings, outcome.version):
        refresh(settings)
    return outcome, refused


def by_week(days: Sequence[tuple[date, Path]], weeks: int) -> list[list[str]]:
    """Groups files by week: one list for everything before the first retrain, and one for each week after it."""
    last = max(day for day, _ in days)
    groups = defaultdict(list)
    for day, path in days:
        groups[min((last - day).days // 7, weeks)].append(str(path))
    return [groups[number] for number in sorted(groups, reverse=True)]


def day_files(data: Path | None, folder: Path, options: argparse.Namespace) -> list[tuple[date, Path]]:
    """Day files as (day, path): of a folder, of a workbook, or of a synthetic shop."""
    if data is None:
        size = {"customers": options.customers, "products": options.products, "days": options.days}
        paths = synthetic.write_day_files(folder, **size, seed=options.seed)
        first, past = synthetic.START.date(), options.days
    elif data.is_dir():
        paths, first, past = sorted(data.glob("*.csv*")), date(2000, 1, 1), 10**6
    else:
        sheet = fastexcel.read_excel(str(data)).load_sheet(
            0, dtypes="string"
        )  # as text, so that codes keep their leading zeros
        lines, first, past = sheet.to_polars().to_pandas(), date(2000, 1, 1), 10**6
        folder.mkdir()
        paths = [folder / f"{day}.csv" for day in sorted(lines["InvoiceDate"].str[:10].unique())]
        for path in paths:
            lines[lines["InvoiceDate"].str[:10] == path.stem].to_csv(path, index=False)
    days = [(date.fromisoformat(path.name[:10]), path) for path in paths]
    # Files of lines with a broken date are left out.
    return [(day, path) for day, path in days if 0 <= (day - first).days < past]


def timed_rollback(settings: Settings, version: int | None = None) -> tuple[float, Rollback]:
    """Rolls back; returns the milliseconds until shoppers see the lists, and what was done."""
    started = time.perf_counter()
    result = rollback(settings, version, actor="gate drill")
    took = 1000 * (time.perf_counter() - started)
    live = live_publication(settings)
    assert live is not None
    assert live["model_version"] == f"v{result.version}"
    return took, result


def drill(
    settings: Settings, groups: Sequence[Sequence[str]], sabotage: Mapping[int, str], say: Callable[[str], None]
) -> list[Week]:
    """Runs all weeks.

    Args:
        settings: of an empty shop.
        groups: paths of invoice files: those before the first retrain, then those of each week.
        sabotage: what to do to the training, by week.
        say: prints a line.
    """
    ingest(settings, groups[0])
    refresh(settings)  # from the first day: version 0
    weeks: list[Week] = []
    for week, files in enumerate(groups[1:], start=1):
        started = time.perf_counter()
        outcome, refused = weekly_retrain(settings, week, sabotage.get(week))
        version, promoted = outcome.version, outcome.publication is not None
        decision, live = registry.gate_decision(settings, version), live_publication(settings)
        assert decision is not None
        weeks.append(
            Week(
                week=week,
                version=version,
                cutoff=registry.model_version(settings, version).cutoff,
                sabotage=sabotage.get(week),
                promoted=promoted,
                serves=int(live["model_version"].removeprefix("v")) if live is not None else None,
                reasons=(*((refused,) if refused else ()), *decision.reasons),
                refused=refused is not None,
                seconds=time.perf_counter() - started,
            )
        )
        say(f"week {week}: v{version} {'promoted' if promoted else 'does not serve'}, {weeks[-1].seconds:.0f} s")
        ingest(settings, files)
    retrain.live_performance(settings, retrain.snapshot(settings))
    return weeks


def history(settings: Settings, weeks: Sequence[Week]) -> str:
    """Markdown: each week's candidate, what the gate decided and why, who served, and how the lists performed."""
    lines = [
        "| week | cutoff | candidate | sabotage | gate | serves then | right |",
        "| ---: | --- | --- | --- | --- | --- | --- |",
    ]
    for week in weeks:
        trick = "none"
        if week.sabotage:
            kind, _, country = week.sabotage.partition(":")
            trick = WHAT[kind].replace("a country", country) if country else WHAT[kind]
        gate = "promoted" if week.promoted else "let through, lists refused" if week.refused else "held"
        serves = f"v{week.serves}" if week.serves is not None else "none"
        lines.append(
            f"| {week.week} | {week.cutoff:%Y-%m-%d} | v{week.version} | {trick} | {gate} | {serves} | "
            f"{'yes' if week.is_right else '**no**'} |"
        )
    lines += ["", "Why:", ""]
    for week in weeks:
        # What held it; for a promotion, its first reason says what it was compared with.
        lines += [f"- Week {week.week}, v{week.version} {'promoted' if week.promoted else 'does not serve'}:"]
        lines += [f"    - {reason}" for reason in week.reasons]
    lines += ["", *_live_history(settings)]
    return "\n".join(lines)


def _live_history(settings: Settings) -> list[str]:
    rows = live_periods.performance(settings)
    k = rows[0].k if rows else settings.k
    lines = [
        f"| bought | served | buyers | `for_you` live P@{k} | 95% | personal frequency | `discover` live P@{k} |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    of = {(row.bought_from, row.question, row.recommender): row for row in rows}
    for start in sorted({row.bought_from for row in rows}):
        live, instead = of[start, "for_you", "live"], of[start, "for_you", "personal_frequency"]
        new = of[start, "discover", "live"]
        lines.append(
            f"| {start:%Y-%m-%d} to {live.bought_until:%m-%d} | v{live.version} | {live.customers:,} | "
            f"{number(live.precision_at_k)} | {number(live.precision_low)} to {number(live.precision_high)} | "
            f"{number(instead.precision_at_k)} | {number(new.precision_at_k)} |"
        )
    reports = live_periods.drift_reports(settings)
    drifted = [report for report in reports if report.findings]
    lines += ["", f"Drift was reported in {len(drifted)} of {len(reports)} windows.", ""]
    for report in drifted:
        window = f"{report.bought_from:%Y-%m-%d} to {report.bought_until:%m-%d}"
        lines += [f"- {window}: {finding}" for finding in report.findings]
    return lines


def number(value: float | None) -> str:
    """Three decimals, or nothing."""
    return "" if value is None else f"{value:.3f}"


def roll_back_and_forward(settings: Settings, weeks: Sequence[Week]) -> list[str]:
    """Rolls back one version and forward again; says how long each takes."""
    if sum(week.promoted for week in weeks) < 2:
        return ["Fewer than two versions were promoted, so no rollback was tried."]
    champion = registry.champion(settings)
    assert champion is not None
    said = []
    for name, version in (("Rollback", None), ("Roll-forward", champion.version)):
        took, result = timed_rollback(settings, version)
        how = "the lists were still in Redis" if result.flipped else "its lists were published again"
        said.append(f"{name} to v{result.version}: {took:.0f} ms, {how}.")
    return said


def verdict(settings: Settings, weeks: Sequence[Week]) -> list[str]:
    """What went wrong; nothing if all went right."""
    served = {period.version for period in live_periods.live_periods(settings)}
    wrong = [
        f"sabotaged v{week.version} of week {week.week} ({week.sabotage}) served"
        for week in weeks
        if week.sabotage and (week.promoted or week.version in served)
    ]
    held = [week for week in weeks if not week.sabotage and not week.promoted]
    return wrong + [f"honest v{week.version} of week {week.week} was held" for week in held]


def planned(text: str | None, weeks: int) -> dict[int, str]:
    """The sabotage of each week.

    Args:
        text: such as `3=discover,5=country:Germany`; None for one kind every other week, as far as they go.
        weeks: number of weeks.

    Raises:
        ValueError: the text is not of this form, or names an unknown week or kind.
    """
    if text is None:
        # An honest retrain comes before and after each sabotaged one.
        return dict(zip(range(2, weeks, 2), WHAT, strict=False))
    plan: dict[int, str] = {}
    for entry in filter(None, text.split(",")):
        week, equals, sabotage = entry.partition("=")
        if not equals or not week.isdigit() or not 1 <= int(week) <= weeks:
            raise ValueError(f"{entry!r} is not WEEK=KIND with a week from 1 to {weeks}")
        if sabotage.partition(":")[0] not in WHAT:
            raise ValueError(f"{sabotage!r} is none of {', '.join(WHAT)}")
        plan[int(week)] = sabotage
    return plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="a folder of YYYY-MM-DD.csv.gz, or a workbook. Default: a synthetic shop"
    )
    parser.add_argument("--weeks", type=int, default=11, help="number of retrains")
    parser.add_argument(
        "--sabotage", help="WEEK=KIND, separated by commas; empty for none. Default: each kind once, every other week"
    )
    parser.add_argument("--customers", type=int, default=400, help="of the synthetic shop, like the next three options")
    parser.add_argument("--products", type=int, default=300)
    parser.add_argument("--days", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where to write the history as JSON")
    parser.add_argument("--markdown", type=Path, help="where to write the history as Markdown, too")
    options = parser.parse_args()
    try:
        sabotage = planned(options.sabotage, options.weeks)
    except ValueError as error:
        parser.error(str(error))
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="ncf-drill-") as home,
        serving(Settings(home=Path(home) / "home", approval=False)) as settings,
        lists_as_sabotaged(),
    ):
        days = day_files(options.data, Path(home) / "days", options)
        weeks = drill(settings, by_week(days, options.weeks), sabotage, say=lambda line: print(line, flush=True))
        text = history(settings, weeks)
        wrong = verdict(settings, weeks)
        text += "\n\n" + "\n".join(roll_back_and_forward(settings, weeks)) + "\n"
        if options.keep:
            options.keep.write_text(json.dumps([asdict(week) for week in weeks], default=str, indent=1))
    honest, tricked = [week for week in weeks if not week.sabotage], [week for week in weeks if week.sabotage]
    text += (
        f"\n{sum(not week.promoted for week in honest)} of {len(honest)} honest candidates were held, "
        f"{sum(week.promoted for week in tricked)} of {len(tricked)} sabotaged ones served.\n"
    )
    if options.markdown:
        options.markdown.write_text(text)
    print(f"\n{text}\ntook {(time.perf_counter() - started) / 60:.1f} minutes")
    if wrong:
        sys.exit(f"FAILED: {'; '.join(wrong)}.")
    print("PASSED: no honest candidate was held, and no sabotaged one served.")


if __name__ == "__main__":
    main()
