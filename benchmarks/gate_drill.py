"""A drill for the gate: weekly retrains of a shop, two of them sabotaged. Prints which version served when, and why.

    python benchmarks/gate_drill.py [--data FOLDER_OR_WORKBOOK] [--weeks 8]

Each week a retrain runs, and then the week's invoices are ingested. If the candidate is held, the champion's lists are
published anew, as after any ingest. The retrain is `training.retrain.run`, on an embedded Postgres and Redis in a
temporary `NCF_HOME`. Only the training is sabotaged: one model is trained on shuffled labels, and one recommends the
same list to everyone.

The exit code is 1 if a sabotaged version served, or if no version served. At the end, it rolls back one version and
forward again.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ncf_pipeline.training import retrain  # before torch: it sets how torch's threads wait

import fastexcel  # isort: skip
import numpy as np
import pandas as pd
import torch

from ncf_pipeline import synthetic
from ncf_pipeline.columns import Interactions
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.local.services import serving
from ncf_pipeline.model.features.tables import FEATURES
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving.publication import live_publication
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import Rollback, rollback
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.distributed import train as honest_train

SHUFFLED, ONE_LIST = "shuffled labels", "one list for everyone"


@dataclass(frozen=True)
class Week:
    """One week's retrain.

    Attributes:
        week: its number, from 1.
        version: the candidate's.
        cutoff: first instant that the candidate did not see.
        sabotage: what was done to its training, if anything.
        promoted: whether it served.
        reasons: the gate's.
        seconds: of the retrain.
    """

    week: int
    version: int
    cutoff: datetime
    sabotage: str | None
    promoted: bool
    reasons: tuple[str, ...]
    seconds: float


@contextmanager
def sabotaged(kind: str | None) -> Iterator[None]:
    """Breaks training in a way that raises no error."""

    def train(interactions: pd.DataFrame, *arguments: Any, **options: Any) -> TrainedModel:
        if kind == SHUFFLED:
            codes = interactions[Interactions.STOCK_CODE].to_numpy(copy=True)
            np.random.default_rng(0).shuffle(codes)
            interactions = interactions.assign(**{Interactions.STOCK_CODE: codes})
        model = honest_train(interactions, *arguments, **options)
        if kind == ONE_LIST:
            with torch.no_grad():
                for parameter in model.network.parameters():
                    parameter.zero_()
                model.network.linear.weight[:, FEATURES.index("buyer_share")] = 1
        return model

    if kind is None:
        yield
        return
    with patch.object(retrain, "train", train):
        yield


def weekly_retrain(settings: Settings, week: int, kind: str | None) -> retrain.Outcome:
    """Retrains for one week; if the candidate is held, publishes the champion's lists anew."""
    with sabotaged(kind):
        outcome = retrain.run(settings, run_key=f"week {week}", requested_by="gate drill")
    if outcome.publication is None:
        refresh(settings)
    return outcome


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
    weeks: list[Week] = []
    for week, files in enumerate(groups[1:], start=1):
        started = time.perf_counter()
        kind = sabotage.get(week)
        outcome = weekly_retrain(settings, week, kind)
        version, promoted = outcome.version, outcome.publication is not None
        decision = registry.gate_decision(settings, version)
        assert decision is not None
        weeks.append(
            Week(
                week=week,
                version=version,
                cutoff=registry.model_version(settings, version).cutoff,
                sabotage=kind,
                promoted=promoted,
                reasons=decision.reasons,
                seconds=time.perf_counter() - started,
            )
        )
        say(f"week {week}: v{version} {'promoted' if promoted else 'held'}, {weeks[-1].seconds:.0f} s")
        ingest(settings, files)
    retrain.live_performance(settings, retrain.snapshot(settings))
    return weeks


def show(settings: Settings, weeks: Sequence[Week]) -> None:
    """Prints which version served when, how its lists performed, and why candidates were held."""
    rows = live_periods.performance(settings)
    print("\nWhich version served when (on the shop's clock), and its live Precision@K")
    print(f"{'bought':<22} {'served':<8} {'buyers':>6} {'for_you':>8} {'95%':>15} {'frequency':>10} {'discover':>9}")
    of = {(row.bought_from, row.question, row.recommender): row for row in rows}
    for start in sorted({row.bought_from for row in rows}):
        live, instead = of[start, "for_you", "live"], of[start, "for_you", "personal_frequency"]
        new = of[start, "discover", "live"].precision_at_k
        interval = f"{live.precision_low:.3f} to {live.precision_high:.3f}"
        print(
            f"{start:%Y-%m-%d} to {live.bought_until:%m-%d}    v{live.version:<7} {live.customers:>6}"
            f" {live.precision_at_k:>8.3f} {interval:>15} {instead.precision_at_k:>10.3f} {new:>9.3f}"
        )
    print("\nEach week's candidate")
    for week in weeks:
        outcome = "promoted" if week.promoted else "held"
        trick = f", SABOTAGED: {week.sabotage}" if week.sabotage else ""
        print(f"week {week.week} ({week.cutoff:%Y-%m-%d}): v{week.version} {outcome}{trick}")
        for reason in week.reasons:
            print(f"    {reason}")
    for report in live_periods.drift_reports(settings):
        for finding in report.findings:
            print(f"drift, {report.bought_from:%Y-%m-%d} to {report.bought_until:%m-%d}: {finding}")


def roll_back_and_forward(settings: Settings, weeks: Sequence[Week]) -> None:
    """Prints how long a rollback takes, and the way forward again."""
    if sum(week.promoted for week in weeks) < 2:
        print("\nFewer than two versions have served: there is none to roll back to.")
        return
    champion = registry.champion(settings)
    assert champion is not None
    for name, version in (("rollback", None), ("roll-forward", champion.version)):
        took, result = timed_rollback(settings, version)
        how = "the lists were still in Redis" if result.flipped else "its lists were published again"
        print(f"{name} to v{result.version}: {took:.0f} ms, {how}")


def sabotage_served(settings: Settings, weeks: Sequence[Week]) -> list[int]:
    """The sabotaged versions whose lists were live."""
    served = {period.version for period in live_periods.live_periods(settings)}
    return sorted(week.version for week in weeks if week.sabotage and week.version in served)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="a folder of YYYY-MM-DD.csv.gz, or a workbook. Default: a synthetic shop"
    )
    parser.add_argument("--weeks", type=int, default=8, help="number of retrains")
    parser.add_argument("--customers", type=int, default=400, help="of the synthetic shop, like the next three options")
    parser.add_argument("--products", type=int, default=300)
    parser.add_argument("--days", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where to write the history as JSON")
    options = parser.parse_args()
    if options.weeks < 3:
        parser.error("with fewer than three weeks, no retrain lies between two honest ones")
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    # An honest retrain comes before and after each sabotaged one.
    sabotage = {(options.weeks + 1) // 2: SHUFFLED}
    if options.weeks >= 6:
        sabotage[options.weeks * 3 // 4] = ONE_LIST
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="ncf-drill-") as home,
        serving(Settings(home=Path(home) / "home", approval=False)) as settings,
    ):
        days = day_files(options.data, Path(home) / "days", options)
        weeks = drill(settings, by_week(days, options.weeks), sabotage, say=lambda line: print(line, flush=True))
        show(settings, weeks)
        print()
        roll_back_and_forward(settings, weeks)
        bad = sabotage_served(settings, weeks)
        if options.keep:
            options.keep.write_text(json.dumps([asdict(week) for week in weeks], default=str, indent=1))
        promoted = [week for week in weeks if week.promoted]
    print(f"took {(time.perf_counter() - started) / 60:.1f} minutes")
    if bad or not promoted:
        names = ", ".join(f"v{version}" for version in bad)
        sys.exit(f"FAILED: sabotaged {names} served." if bad else "FAILED: no version was promoted.")
    print("no sabotaged version served")


if __name__ == "__main__":
    main()
