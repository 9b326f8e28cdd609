"""Whether one recipe is better than another: many cuts, three seeds, paired by customer, with intervals.

    python benchmarks/recipes.py --data "Online Retail.xlsx" --base "" --new "embedding_dim=64"
    python benchmarks/recipes.py --data "Online Retail.xlsx" --base main --new my-branch
    python benchmarks/recipes.py --synthetic --base "peer=ease" --new ""

A side is a revision of git, settings, or both; without a revision it is the working tree. Settings are fields of the
recipe (`hidden=256,128`, `seed=3` for seeds from 3 on), `epochs=2`, `without=words,rate` (features that are zero),
`still=mlp`, `ids=no`, `value=1` (lists by expected revenue), `family=2` (at most so many variants of one product among
the first five), or `peer=NAME` with the settings of that peer. Each revision is trained by its own
`benchmarks/fits.py`: a model of another form changes that file too.

Cuts are all Mondays with at least five past instants of the whole horizon, before `--until`. Its default keeps the
workbook's cuts for the final look, 2011-09-16 and later, out of every decision. Each holdout is the 28 days after a
cut. Every customer counts who was known at the cut and bought something in the holdout.

The mean over cuts is compared. Its interval draws customers again, with all their cuts, because one customer occurs at
many; and seeds, because another seed moves every customer. Holdouts of neighbouring cuts overlap and all cuts are of
one shop and one spring, so the interval says nothing about other seasons.

Results are kept in `--work`: by the source of the model, the side's settings, cut and seed. So a comparison that was
stopped continues, and the base of an earlier comparison costs nothing.
"""

import argparse
import ast
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fits import HORIZON, Peer, Shop, Variant, full_instants, score_at, with_settings  # before torch

import numpy as np  # isort: skip
import numpy.typing as npt
import pandas as pd
import torch
from ingested import ingested, kept, read
from planted import planted_shop

from ncf_pipeline.columns import Interactions
from ncf_pipeline.evaluation.bootstrap import RESAMPLES, Interval, expanded_tail
from ncf_pipeline.evaluation.scores import QUESTIONS
from ncf_pipeline.model.peers import PEERS
from ncf_pipeline.model.recipe import Recipe

TREE = Path(__file__).parents[1]
UNTIL = datetime(2011, 8, 1)
MIN_INSTANTS = 5
SEEDS = (0, 1, 2)

MEASURES = {
    "P@5": ("precision_at_k", None),
    "NDCG@10": ("ndcg_at_10", None),
    "revenue@5": ("spent_at_k", "spent"),
}
"""Of `score_by_customer`: a sum over customers, over the number of customers or over another sum."""

PACKAGE = "ncf_pipeline"
OF_THE_MODEL = (
    "benchmarks/fits.py", f"{PACKAGE}/model/*.py", f"{PACKAGE}/model/features/*.py",
    f"{PACKAGE}/model/lists/network_scorer.py", f"{PACKAGE}/model/lists/value.py", f"{PACKAGE}/model/lists/variety.py",
    f"{PACKAGE}/evaluation/scores.py", f"{PACKAGE}/evaluation/metrics.py", f"{PACKAGE}/evaluation/splits.py",
    f"{PACKAGE}/model/peers/ranking.py",
)  # fmt: skip
OF_PEERS = (f"{PACKAGE}/model/peers/*.py", f"{PACKAGE}/evaluation/baselines.py")
"""Sources that results depend on."""

Result = dict[str, dict[str, list[Any]]]
"""By question: `customer_id` and the columns of `score_by_customer`, as lists."""


@dataclass(frozen=True)
class Side:
    """One of the two recipes.

    Attributes:
        text: as it was given.
        revision: of git; None for the working tree.
        settings: by name, as text.
    """

    text: str
    revision: str | None
    settings: dict[str, str]

    @property
    def label(self) -> str:
        """For the table."""
        return self.text or "working tree"

    def of(self, seed: int) -> Variant | Peer:
        """What is trained with a seed.

        Raises:
            ValueError: a setting is unknown, or its value has another type.
        """
        settings = dict(self.settings)
        if peer := settings.pop("peer", None):
            if peer not in PEERS:
                raise ValueError(f"there is no peer {peer}; choose among {', '.join(PEERS)}")
            return Peer(peer, {name: _value(text) for name, text in settings.items()})
        variant = Variant(
            epochs=int(settings.pop("epochs", Variant.epochs)),
            without=tuple(filter(None, settings.pop("without", "").split(","))),
            still=tuple(filter(None, settings.pop("still", "").split(","))),
            ids=settings.pop("ids", "yes") != "no",
            value=float(settings.pop("value", 0)),
            family=int(settings.pop("family", 0)),
        )
        recipe = with_settings(Recipe(), settings)
        return replace(variant, recipe=replace(recipe, seed=recipe.seed + seed))

    def seeds(self, seeds: Sequence[int]) -> Sequence[int]:
        """The seeds it is trained with: a peer is the same with each."""
        return seeds[:1] if "peer" in self.settings else seeds


def side_of(text: str) -> Side:
    """Reads a side.

    Raises:
        ValueError: it names two revisions.

    >>> side_of("main hidden=256,128")
    Side(text='main hidden=256,128', revision='main', settings={'hidden': '256,128'})
    """
    words = text.split()
    revisions = [word for word in words if "=" not in word]
    if len(revisions) > 1:
        raise ValueError(f"{text!r} names two revisions: {' and '.join(revisions)}. Write settings as NAME=VALUE.")
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    return Side(" ".join(words), revisions[0] if revisions else None, settings)


def _value(text: str) -> Any:
    """A number; or words and numbers that commas part."""
    if "," in text:
        return tuple(part if part.isidentifier() else _value(part) for part in text.split(","))
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def cuts_of(interactions: pd.DataFrame, until: datetime | None, recipe: Recipe | None = None) -> list[datetime]:
    """Every Monday before `until` with `MIN_INSTANTS` past instants, whose holdout ends with the data or before."""
    times = interactions[Interactions.PURCHASED_AT]
    first, last = times.min().to_pydatetime(), times.max().to_pydatetime()
    monday = first.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=7 - first.weekday())
    weeks = (monday + timedelta(days=7 * week) for week in range((last - first).days // 7 + 1))
    enough = [cut for cut in weeks if full_instants(first, cut, recipe or Recipe()) >= MIN_INSTANTS]
    return [cut for cut in enough if (until is None or cut < until) and cut + HORIZON <= last + timedelta(days=1)]


# --- Training


def source_of(tree: Path, side: Side) -> str:
    """A digest of all source that a side's results depend on."""
    patterns = OF_THE_MODEL + (OF_PEERS if "peer" in side.settings else ())
    digest = digest_of_source([path for pattern in patterns for path in sorted(tree.glob(pattern))])
    return digest.hexdigest()[:12]


def digest_of_source(paths: Iterable[Path]) -> "hashlib._Hash":
    """Of files of Python: comments and formatting do not count."""
    digest = hashlib.sha256(f"torch {torch.__version__}".encode())
    for path in paths:
        digest.update(ast.dump(ast.parse(path.read_text())).encode())
    return digest


def folder_of(work: Path, shop: str, tree: Path, side: Side) -> Path:
    """Where a side's results are."""
    settings = " ".join(f"{name}={value}" for name, value in sorted(side.settings.items())) or "default"
    return work / shop / f"{source_of(tree, side)} {settings}".replace("/", "_")


def path_of(folder: Path, cut: datetime, seed: int) -> Path:
    """Of one result."""
    return folder / f"{cut:%Y-%m-%d} {seed}.json"


def fit_missing(
    shop: Shop,
    cuts: Sequence[datetime],
    seeds: Sequence[int],
    sides: Mapping[Path, Side],
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Trains and scores what has no result yet.

    Args:
        shop: with the purchases.
        cuts: first days of holdouts, ascending.
        seeds: of training.
        sides: by the folder of their results.
        report: called with a line after each fit.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with several, sums differ; and batches are too small for them to help
    try:
        for cut in cuts:
            for folder, side in sides.items():
                for seed in side.seeds(seeds):
                    path = path_of(folder, cut, seed)
                    if path.exists():
                        continue
                    started = time.perf_counter()
                    scores = score_at(shop, cut, side.of(seed))
                    write(path, {question: table_as_lists(table) for question, table in scores.items()})
                    precision = " ".join(f"{scores[question]['precision_at_k'].mean():.4f}" for question in QUESTIONS)
                    seconds = time.perf_counter() - started
                    report(f"{cut:%Y-%m-%d} seed {seed} [{side.label}]: {precision}, {seconds:.0f} s")
            shop.let_go()
    finally:
        torch.set_num_threads(threads)


def table_as_lists(table: pd.DataFrame) -> dict[str, list[Any]]:
    """A table of `score_by_customer` for JSON."""
    lists: dict[str, list[Any]] = table.reset_index().to_dict(orient="list")  # type: ignore[assignment]
    return lists


def write(path: Path, result: Result) -> None:
    """Writes a result whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(result))
    temporary.replace(path)


# --- Comparing


@dataclass(frozen=True)
class Difference:
    """One line of the table.

    Attributes:
        question: `for_you` or `discover`.
        measure: a key of `MEASURES`.
        base: mean over cuts.
        new: mean over cuts.
        difference: new - base, with its interval.
        cuts_up: on how many cuts it is above zero.
        cuts: how many there are.
    """

    question: str
    measure: str
    base: float
    new: float
    difference: Interval
    cuts_up: int
    cuts: int


def compare(base: Sequence[Sequence[Result]], new: Sequence[Sequence[Result]], *, seed: int = 0) -> list[Difference]:
    """Compares the results of two sides.

    The statistic is the mean over cuts, and over seeds, of the measure at each cut. Each draw of the bootstrap takes as
    many customers, with all their cuts (the cluster bootstrap, Field & Welsh 2007, "Bootstrapping clustered data",
    J. R. Statist. Soc. B 69), and at each cut as many seeds of each side.

    Args:
        base: for each cut, a result for each seed.
        new: for the same cuts.
        seed: of the draws.
    """
    lines = []
    for question in QUESTIONS:
        customers = sorted({who for cut in base for who in cut[0][question]["customer_id"]})
        place = {who: index for index, who in enumerate(customers)}
        random = np.random.default_rng(seed)
        draws = np.ones((RESAMPLES + 1, len(customers)))  # the first is the sample itself
        draws[1:] = random.multinomial(len(customers), np.full(len(customers), 1 / len(customers)), size=RESAMPLES)
        chosen = [[_seeds_drawn(random, len(cut)) for cut in side] for side in (base, new)]
        for measure, (column, total) in MEASURES.items():
            at_cuts = [
                np.stack(
                    [
                        _mean_at(draws, cut, question, place, column, total, which)
                        for cut, which in zip(*pair, strict=True)
                    ]
                )
                for pair in zip((base, new), chosen, strict=True)
            ]  # two of (cuts, draws)
            difference = at_cuts[1] - at_cuts[0]
            tail = expanded_tail(len(customers))
            low, high = np.nanquantile(np.nanmean(difference[:, 1:], axis=0), [tail, 1 - tail])
            lines.append(
                Difference(
                    question=question,
                    measure=measure,
                    base=float(np.nanmean(at_cuts[0][:, 0])),
                    new=float(np.nanmean(at_cuts[1][:, 0])),
                    difference=Interval(float(np.nanmean(difference[:, 0])), float(low), float(high)),
                    cuts_up=int((difference[:, 0] > 0).sum()),
                    cuts=len(difference),
                )
            )
    return lines


def _seeds_drawn(random: np.random.Generator, seeds: int) -> npt.NDArray[np.float64]:
    """(1 + RESAMPLES, seeds) the weight of each seed in each draw; the first draw has each once."""
    weights = np.full((RESAMPLES + 1, seeds), 1 / seeds)
    weights[1:] = random.multinomial(seeds, weights[0], size=RESAMPLES) / seeds
    return weights


def _mean_at(
    draws: npt.NDArray[np.float64],
    of_seeds: Sequence[Result],
    question: str,
    place: Mapping[str, int],
    column: str,
    total: str | None,
    weights: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """(1 + RESAMPLES,) the measure at a cut in each draw of customers; NaN if no drawn customer has a part in it."""
    rows = [place[who] for who in of_seeds[0][question]["customer_id"]]
    values = np.array([result[question][column] for result in of_seeds])  # (seeds, rows)
    parts = np.array(of_seeds[0][question][total]) if total else np.ones(len(rows))
    drawn = draws[:, rows]
    whole = drawn @ parts
    means: npt.NDArray[np.float64] = ((drawn @ values.T) * weights).sum(axis=1) / np.where(whole > 0, whole, np.nan)
    return means


def table(lines: Sequence[Difference], base: Side, new: Side) -> str:
    """The comparison as Markdown."""
    rows = [
        f"| `{line.question}` {line.measure} | {line.base:.4f} | {line.new:.4f} "
        f"| {line.difference.mean:+.4f} [{line.difference.low:+.4f}, {line.difference.high:+.4f}] "
        f"| {line.cuts_up} of {line.cuts} | {verdict(line.difference)} |"
        for line in lines
    ]
    head = f"| | BASE: {base.label} | NEW: {new.label} | difference [95%] | cuts up | |"
    return "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows])


def verdict(interval: Interval) -> str:
    """Whether the interval is above zero, below it, or neither."""
    return "better" if interval.low > 0 else "worse" if interval.high < 0 else "no difference seen"


# --- The command


def tree_of(work: Path, revision: str | None) -> Path:
    """The source of a revision: unpacked once, by commit.

    Raises:
        ValueError: there is no such revision, or it is older than `benchmarks/fits.py`.
    """
    if revision is None:
        return TREE
    found = subprocess.run(
        ["git", "-C", str(TREE), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode:
        raise ValueError(f"git knows no revision {revision}. Write settings as NAME=VALUE.")
    tree = work / "trees" / found.stdout.strip()[:12]
    if not tree.exists():
        archive = subprocess.run(
            ["git", "-C", str(TREE), "archive", found.stdout.strip(), PACKAGE, "benchmarks"],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        temporary = tree.with_name(f"{tree.name}.{os.getpid()}.tmp")
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(temporary, filter="data")
        temporary.replace(tree)
    if not (tree / "benchmarks/fits.py").exists():
        raise ValueError(f"{revision} has no benchmarks/fits.py: it is older than this protocol, choose a later one")
    return tree


def started(tree: Path, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Starts this program in another source tree, whose package it then uses."""
    return subprocess.Popen(
        [sys.executable, str(tree / "benchmarks/recipes.py"), *arguments],
        env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        cwd=tree,
    )


def fit_in_processes(
    options: argparse.Namespace,
    until: datetime | None,
    parquet: Path,
    sides: Sequence[tuple[Path, Path, Side]],
    cuts: Sequence[datetime],
) -> None:
    """Fits what is missing, tree by tree, in several processes.

    Each process has every n-th cut. With two, the weekly cuts of a process are two weeks apart, as past instants are:
    so no instant's queries are made in both.

    Args:
        options: of the command line.
        until: no cut from this day on; None for all.
        parquet: the interactions.
        sides: source tree, folder of results, and side.
        cuts: all of them.

    Raises:
        SystemExit: a process failed.
    """
    by_tree: dict[Path, dict[Path, Side]] = {}
    for tree, folder, side in sides:
        wanted = [path_of(folder, cut, seed) for cut in cuts for seed in side.seeds(options.seeds)]
        if not all(path.exists() for path in wanted):
            by_tree.setdefault(tree, {})[folder] = side
    for tree, of_tree in by_tree.items():
        chosen = [word for folder, side in of_tree.items() for word in ("--side", str(folder), side.text)]
        common = ["--fit", str(parquet), "--seeds", *map(str, options.seeds), *chosen]
        common += ["--until", str(until)] if until else []
        common += ["--every", str(options.every)]
        number = options.processes
        processes = [started(tree, [*common, "--part", str(part), str(number)]) for part in range(number)]
        try:
            failed = [code for process in processes if (code := process.wait())]
        finally:
            for process in processes:
                process.terminate()
        if failed:
            raise SystemExit(f"recipes.py: training ended with {failed[0]}; what is done is kept: run it again")


def results(folder: Path, side: Side, cuts: Sequence[datetime], seeds: Sequence[int]) -> list[list[Result]]:
    """All results of a side, by cut and seed."""
    return [[json.loads(path_of(folder, cut, seed).read_text()) for seed in side.seeds(seeds)] for cut in cuts]


def parser(description: str | None = __doc__) -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a workbook or a folder of day files")
    source.add_argument("--synthetic", action="store_true", help="the shop of planted.py, with known habits")
    source.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--base", default="", help="a side; the working tree if empty")
    parser.add_argument("--new", default="", help="the other side")
    parser.add_argument("--until", type=datetime.fromisoformat, help=f"no cut from this day on; {UNTIL:%Y-%m-%d}")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--work", type=Path, default=TREE / ".bench-recipe", help="what takes long is kept here")
    parser.add_argument("--every", type=int, default=1, help="of so many weeks, one has a cut")
    parser.add_argument("--part", nargs=2, type=int, default=(0, 1), help=argparse.SUPPRESS)
    parser.add_argument("--side", nargs=2, action="append", help=argparse.SUPPRESS)
    return parser


def fit_part(options: argparse.Namespace) -> None:
    """What a process does that `fit_in_processes` starts."""
    interactions = read(options.fit)
    part, parts = options.part
    cuts = cuts_of(interactions, options.until)[:: options.every]
    sides = {Path(folder): side_of(text) for folder, text in options.side}
    fit_missing(
        Shop(interactions, max(cuts) + HORIZON),
        cuts[part::parts],
        options.seeds,
        sides,
        lambda line: print(line, file=sys.stderr, flush=True),
    )


def compared(options: argparse.Namespace) -> str:
    """Trains what has no result yet, and returns the table.

    Raises:
        ValueError: a side cannot be read, or no Monday has enough history.
    """
    began = time.perf_counter()
    base, new = side_of(options.base), side_of(options.new)
    for side in (base, new):
        if side.revision is None:
            side.of(0)  # so that a mistake is told before minutes of work
    until = options.until or (None if options.synthetic else UNTIL)
    shop, parquet, interactions = interactions_of(options)
    cuts = cuts_of(interactions, until)[:: options.every]
    if not cuts:
        before = f" before {until:%Y-%m-%d}" if until else ""
        raise ValueError(f"no Monday{before} has {MIN_INSTANTS} past instants; load more invoices")
    trees = [tree_of(options.work, side.revision) for side in (base, new)]
    folders = [folder_of(options.work, shop, tree, side) for tree, side in zip(trees, (base, new), strict=True)]
    fit_in_processes(options, until, parquet, list(zip(trees, folders, (base, new), strict=True)), cuts)
    lines = compare(
        *(results(folder, side, cuts, options.seeds) for folder, side in zip(folders, (base, new), strict=True))
    )
    return (
        f"{shop}: {len(cuts)} cuts from {cuts[0]:%Y-%m-%d} to {cuts[-1]:%Y-%m-%d}, seeds "
        f"{', '.join(map(str, options.seeds))}, {time.perf_counter() - began:.0f} s.\n\n{table(lines, base, new)}"
    )


def interactions_of(options: argparse.Namespace) -> tuple[str, Path, pd.DataFrame]:
    """The name of the shop, where its interactions are kept, and the interactions: ingested once."""

    def make() -> pd.DataFrame:
        return planted_shop(ingested) if options.synthetic else ingested(options.data)

    if options.synthetic:
        sources = [TREE / "benchmarks/planted.py", *sorted((TREE / PACKAGE / "synthetic").glob("*.py"))]
        shop = f"synthetic {digest_of_source(sources).hexdigest()[:8]}"
    else:
        shop = f"{options.data.stem} {digest(options.data)}"
    parquet = options.work / f"{shop}.parquet"
    return shop, parquet, kept(parquet, make)


def digest(source: Path) -> str:
    """Of a file, or of a folder's files, by name, size and time."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if options.fit:
        fit_part(options)
        return
    options.work = options.work.resolve()
    try:
        print(compared(options))
    except ValueError as error:
        raise SystemExit(f"recipes.py: {error}") from error


if __name__ == "__main__":
    main()
