"""How good the recommendations are that the storefront reads: writes `docs/quality.md` and its plot.

    python benchmarks/quality.py --data "Online Retail.xlsx"

For each cut, a retrain runs with that cutoff and all defaults, on an embedded Postgres and Redis. Then every list is
read from Redis and scored on the 28 days after the cut, over the whole catalogue and all customers known at the cut.
Peers are trained and scored on the same purchases and customers.

The default cuts are for a settled design; report every run on them. Develop on `--development`.

It takes about two hours. Each step is kept in `--work` when it ends, by all source that it depends on and the data: a
run that was stopped goes on there. Its next cut is then compared by the gate with no version before it; that changes no
list. Run it in a checkout that nobody changes meanwhile, because SQL and rules are read as it runs.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from ablation import ablate_at, mean_over_cuts
from fits import HORIZON, Shop, of_known
from quality_page import write_page

from ncf_pipeline.columns import Lists
from ncf_pipeline.evaluation.baselines import BASELINES
from ncf_pipeline.evaluation.scores import CANDIDATE, VERSION_0, score, truth_of
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.local.services import serving
from ncf_pipeline.model.lists.assemble import customer_lists, version_0_lists
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.peers.stack import BEST
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.artifacts import load_model
from ncf_pipeline.registry.snapshots import Snapshot, read_snapshot, take_snapshot
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront
from ncf_pipeline.training import retrain
from ncf_pipeline.training.evaluate import peer_lists

CUTS = ("2011-09-16", "2011-10-14", "2011-11-11")
DEVELOPMENT = ("2011-04-11", "2011-05-09", "2011-06-06", "2011-07-04")
HOLDOUT = timedelta(days=28)
K, TOP_N = 5, 10

TREE = Path(__file__).parents[1]
SOURCES = ("benchmarks/*.py", "ncf_pipeline/**/*.py", "sql/**/*.sql", "expectations/*.json", "requirements*.lock")
"""What figures depend on: of another source, none is reused."""

Figures = dict[str, Any]  # kept as JSON
Result = TypeVar("Result")


def look(settings: Settings, interactions: pd.DataFrame, cut: str, peers: bool) -> Figures:
    """Retrains at the cut, reads the lists from Redis, and scores them beside the baselines and peers."""
    cutoff = datetime.fromisoformat(cut)
    started, cpu_started = time.perf_counter(), time.process_time()
    outcome = retrain.run(settings, cutoff, run_key=f"cut {cut}", requested_by="benchmark")
    version, published = outcome.version, outcome.publication is not None
    if registry.model_version(settings, version).url is None:
        retrain.refit(settings, version)  # the gate held it; its lists are scored all the same
    truth = of_known(truth_of(interactions, cutoff, cutoff + HOLDOUT))
    if published:
        lists = {CANDIDATE: lists_in_redis(settings, truth.known_customers)}
    else:
        url = registry.model_version(settings, version).url
        assert url is not None  # `refit` wrote it
        model = load_model(url)
        lists = {CANDIDATE: customer_lists(model, interactions, cutoff, TOP_N, customers=truth.known_customers)}
    seconds = time.perf_counter() - started
    cpu_seconds = {CANDIDATE: time.process_time() - cpu_started}
    for name, baseline in (BASELINES | {VERSION_0: version_0_lists}).items():
        cpu_started = time.process_time()
        lists[name] = baseline(interactions, cutoff, TOP_N, truth.known_customers)
        cpu_seconds[name] = time.process_time() - cpu_started
    for peer in peer_lists(interactions, cutoff, TOP_N, truth.known_customers) if peers else ():
        lists[peer.name] = peer.lists
        cpu_seconds[peer.name] = peer.cpu_seconds
    fallbacks = fallback_lists(interactions, cutoff, TOP_N)
    decision = registry.gate_decision(settings, version)
    assert decision is not None
    return {
        "cut": cut,
        "retrain_seconds": seconds,
        "known_customers": len(truth.known_customers),
        "cpu_seconds": cpu_seconds,
        "held": [] if published else list(decision.reasons),
        "scores": [asdict(entry) for entry in score(lists, truth, k=K, fallbacks=fallbacks)],
    }


def lists_in_redis(settings: Settings, customers: Sequence[str]) -> pd.DataFrame:
    """Reads lists as a storefront does, into the columns of `columns.Lists`."""
    with Storefront(settings.list_store(), prefix=settings.key_prefix, whole=True, raise_errors=True) as storefront:
        figures = {customer: storefront.lists_of_customer(customer) for customer in customers}
    rows = [
        ("customer", customer, name, list(entry.stock_codes))
        for customer, lists in figures.items()
        for name, entry in lists.items()
        if entry.source == "customer"
    ]
    return pd.DataFrame(rows, columns=list(Lists.ALL))


def cost(parquet: Path, cutoff: datetime, answer: "Connection[Any, Any]") -> None:
    """Measures seconds and peak MB of a backtest, a refit and all lists. Runs in a process of its own."""
    from ncf_pipeline.model.lists.assemble import customer_lists, product_lists
    from ncf_pipeline.model.recipe import Recipe
    from ncf_pipeline.model.training import train

    interactions = pd.read_parquet(parquet)
    figures: Figures = {"cutoff": str(cutoff), "lines": len(interactions)}

    def timed(name: str, function: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = function()
        figures[f"{name}_seconds"] = time.perf_counter() - started
        figures[f"{name}_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return result

    backtest = timed("backtest", lambda: train(interactions, cutoff - HOLDOUT, Recipe(), device="cpu"))
    model = timed("refit", lambda: train(interactions, cutoff, Recipe(), device="cpu", epochs=backtest.epochs))
    figures["epochs"] = model.epochs
    figures["customers"] = len(timed("customers", lambda: customer_lists(model, interactions, cutoff, TOP_N))) // 3
    figures["products"] = len(timed("products", lambda: product_lists(model, interactions, cutoff, TOP_N))) // 2
    answer.send(figures)


def cost_in_its_own_process(snapshot: Snapshot, folder: Path) -> Figures:
    """Runs `cost` in a process of its own, so that the peak is its own."""
    parquet = folder / "interactions.parquet"
    snapshot.interactions.to_parquet(parquet)
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=cost, args=(parquet, snapshot.cutoff, sender))
    process.start()
    sender.close()
    figures: Figures = receiver.recv()
    process.join()
    return figures


class Kept:
    """Figures of earlier runs on the same source and data, each in a JSON file of its own."""

    def __init__(self, work: Path, data: Path) -> None:
        digest = hashlib.sha256(data.read_bytes())
        for path in sorted({path for pattern in SOURCES for path in TREE.glob(pattern)}):
            digest.update(str(path.relative_to(TREE)).encode() + path.read_bytes())
        self._folder = work / digest.hexdigest()[:12]
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, step: str, measured: Callable[[], Any]) -> Any:
        """What was kept of a step; else measures it and keeps it."""
        path = self._folder / f"{step}.json"
        if not path.exists():
            result = measured()
            unfinished = path.with_suffix(".part")
            unfinished.write_text(json.dumps(result))
            unfinished.rename(path)
        return json.loads(path.read_text())


def measure(options: argparse.Namespace) -> Figures:
    """Measures everything that the page shows, as figures for JSON."""
    import torch

    from ncf_pipeline import __version__

    kept = Kept(options.work, options.data)

    def timed(step: str, measured: Callable[[], Any]) -> Any:
        def with_seconds() -> Figures:
            started = time.perf_counter()
            return {"figures": measured(), "seconds": time.perf_counter() - started}

        entry = kept.get(step, with_seconds)
        figures["seconds"] += entry["seconds"]
        return entry["figures"]

    with (
        tempfile.TemporaryDirectory() as home,
        serving(Settings(home=Path(home), k=K, top_n=TOP_N, approval=False)) as settings,
    ):
        ingest(settings, [str(options.data)])
        everything = read_snapshot(settings, take_snapshot(settings))
        figures: Figures = {
            "date": f"{datetime.now():%Y-%m-%d}",
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "versions": f"ncf-pipeline {__version__}, torch {torch.__version__}",
            "development": options.development,
            "stacks": BEST,
            "cuts": [],
            "ablation": [],
            "seconds": 0.0,
        }
        figures["cost"] = timed("cost", lambda: cost_in_its_own_process(everything, Path(home)))
        interactions, peers = everything.interactions, options.peers
        for cut in DEVELOPMENT if options.development else options.cuts:
            step = f"cut {cut}" + ("" if peers else " without peers")
            figures["cuts"].append(timed(step, partial(look, settings, interactions, cut, peers)))
        if options.ablation:
            cuts = [datetime.fromisoformat(cut) for cut in DEVELOPMENT]
            shop = Shop(interactions, max(cuts) + HORIZON)
            rows = [timed(f"ablation {cut:%Y-%m-%d}", partial(ablate_at, shop, cut)) for cut in cuts]
            figures["ablation"] = mean_over_cuts(rows)
            figures["ablation_cuts"] = list(DEVELOPMENT)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="the workbook")
    source.add_argument("--figures", type=Path, help="write the page from figures that --keep has written")
    parser.add_argument("--cuts", nargs="+", default=list(CUTS), help="first days of holdouts, ascending")
    parser.add_argument("--development", action="store_true", help="use the cuts that the recipe was chosen on")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--no-ablation", dest="ablation", action="store_false")
    parser.add_argument("--keep", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--work", type=Path, default=TREE / ".bench-quality", help="where steps are kept as they end")
    parser.add_argument("--output", type=Path, default=Path("docs/quality.md"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ncf_pipeline").setLevel(logging.INFO)
    figures = json.loads(options.figures.read_text()) if options.figures else measure(options)
    if options.keep:
        options.keep.write_text(json.dumps(figures, indent=1))
    write_page(figures, options.output)
    print(f"{options.output} and its plot are written; measuring took {figures['seconds']:.0f} s.")


if __name__ == "__main__":
    main()
