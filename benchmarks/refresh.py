"""From a day's file to live lists: `python benchmarks/refresh.py airflow`, and `python benchmarks/refresh.py changed`.

    python benchmarks/refresh.py airflow [--data FOLDER] [--rounds 3] [--home HOME]
    python benchmarks/refresh.py changed --customers 200000 --products 5000 --lines 2000000

`airflow` starts the embedded servers and Airflow, loads all day files of a shop but the last ones, trains a model in
one epoch and makes it serve. Then it puts a day's file into the inbox, starts `ingest_invoices`, and waits until the
lists that `refresh_lists` makes of it are live. Printed is when each task was asked for, began and ended, by Airflow's
own record. Without `--data`, the shop is made up.

`changed` has no Airflow: a made-up shop of any size, whose model was trained on some thousand of its customers, and a
day on which one in a hundred customers buys. Each task of the refresh is a process of its own, with
`NCF_REFRESH=changed`.

Seconds are wall clock. CPU seconds are beside them: if they differ much, others used the machine.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import psycopg2
from scale import make_interactions

from ncf_pipeline.settings import Settings
from ncf_pipeline.synthetic import write_day_files

HOLDOUT = timedelta(days=28)
BOUGHT = 0.01
"""The share of customers who buy on the day that `changed` measures."""

PATIENCE = 600.0  # seconds that a day may take


def serve_a_model(settings: Settings, train_on: int | None) -> str:
    """Trains a model in one epoch, with trees and chances, and makes it the champion; returns what it did.

    It is trained on what was sold until four weeks ago, where its chances are fitted, and it serves as it is. Whoever
    scores has as much work with it as with a model that was trained for long.
    """
    from ncf_pipeline.evaluation.gate import GateDecision
    from ncf_pipeline.model.recipe import Recipe
    from ncf_pipeline.model.training import train
    from ncf_pipeline.registry import artifacts
    from ncf_pipeline.registry import versions as registry
    from ncf_pipeline.registry.manifests import KnownManifests
    from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
    from ncf_pipeline.training.chances import with_chances
    from ncf_pipeline.training.decision import thresholds
    from ncf_pipeline.training.retrain import truth_for

    begun = time.perf_counter()
    snapshot = read_snapshot(settings, take_snapshot(settings))
    if train_on is not None:
        customers = snapshot.interactions["customer_id"]
        some = np.random.default_rng(0).permutation(customers.dropna().unique())[:train_on]
        snapshot = replace(snapshot, interactions=snapshot.interactions[customers.isin(some)].reset_index(drop=True))
    holdout_start = snapshot.cutoff - HOLDOUT
    version = registry.open_version(
        settings,
        run_key="benchmark",
        snapshot_id=snapshot.snapshot_id,
        cutoff=snapshot.cutoff,
        holdout_start=holdout_start,
        config={"top_n": settings.top_n},
        requested_by="benchmark",
    )
    model = train(snapshot.interactions, holdout_start, Recipe(), device="cpu", epochs=1)
    model, _ = with_chances(
        model, snapshot.interactions, truth_for(snapshot, holdout_start), top_n=settings.top_n + settings.spare
    )
    url = artifacts.version_url(settings.artifacts, version)
    lineage = {"version": version, "snapshot_id": snapshot.snapshot_id}
    artifacts.save_model(model, url, lineage=lineage, card="# Card", known=KnownManifests(settings, version))
    registry.record_decision(settings, version, GateDecision(True, (), thresholds(settings), ()), details={})
    registry.record_artifact(settings, version, url)
    registry.promote(settings, version, actor="benchmark", reason="benchmark")
    return f"v{version} was trained on {len(snapshot.interactions):,} lines in {time.perf_counter() - begun:.0f} s"


def in_new_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Returns what a function returns in a process of its own, which gives back its memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# --- in Airflow ---


@dataclass(frozen=True)
class Task:
    """When a task was asked for, began and ended: seconds since the file was dropped."""

    name: str
    asked: float
    began: float
    ended: float
    state: str


def load(settings: Settings, files: Sequence[Path]) -> str:
    """Loads files as the command `ingest` does."""
    from ncf_pipeline.ingest.stages import ingest

    return str(ingest(settings, [str(file) for file in files]))


def refresh_once(settings: Settings) -> int | None:
    """Makes the first lists."""
    from ncf_pipeline.serving.publish import refresh

    return refresh(settings)


def in_airflow(data: Path | None, rounds: int, home: Path) -> None:
    """Measures the days of a shop, one after the other, in the embedded Airflow."""
    from ncf_pipeline.local.services import down, up
    from ncf_pipeline.settings import load_settings

    settings = load_settings(home=home, approval=False)
    folder = data if data is not None else home / "days"
    if data is None and not folder.exists():
        write_day_files(folder, customers=2_000, products=2_000, days=200)
    files = sorted(file for file in folder.iterdir() if file.suffix in (".gz", ".csv"))
    try:
        settings = up(settings, airflow=False)
        done = home / "dropped.json"
        if not done.exists():
            print(in_new_process(load, settings, files[:-rounds]), flush=True)
            print(in_new_process(serve_a_model, settings, None), flush=True)
            print(f"publication {in_new_process(refresh_once, settings)} is live", flush=True)
            done.write_text(json.dumps([]))
        settings = up(settings, say=print)
        dropped = json.loads(done.read_text())
        measured = []
        for file in [file for file in files if file.name not in dropped][-rounds:]:
            measured.append(day_in_airflow(settings, file))
            dropped.append(file.name)
            done.write_text(json.dumps(dropped))
        if len(measured) > 1:
            print(f"\nmedian of {len(measured)} days: live after {statistics.median(measured):.1f} s")
    finally:
        down(settings)


def day_in_airflow(settings: Settings, file: Path) -> float:
    """Drops a day's file, and prints what follows; returns the seconds until its lists are live."""
    from ncf_pipeline.local.airflow_api import AirflowApi
    from ncf_pipeline.local.airflow_environment import ADMIN, admin_password
    from ncf_pipeline.local.demo import INGEST, REFRESH
    from ncf_pipeline.local.state import read_services
    from ncf_pipeline.local.status import status

    services = read_services(settings.home)
    assert services.airflow_url is not None
    with AirflowApi(services.airflow_url, username=ADMIN, password=admin_password(settings.home)) as api:
        api.wait_for_dags((INGEST, REFRESH))
        for dag_id in (INGEST, REFRESH):
            api.unpause(dag_id)
        time.sleep(3)  # what starting left to do
        before = status(settings).live_publication
        runs_before = {run["dag_run_id"] for run in _runs(api, REFRESH)}
        cpu = cpu_seconds(settings)
        settings.inbox_path.mkdir(parents=True, exist_ok=True)
        waiting = settings.inbox_path / f".{file.name}.tmp"
        shutil.copyfile(file, waiting)
        dropped = time.time()
        waiting.rename(settings.inbox_path / file.name)
        run_of = {INGEST: api.trigger(INGEST)}
        triggered = time.time()
        while (live := status(settings).live_publication) == before:
            if api.run_state(INGEST, run_of[INGEST]) == "failed" or time.time() - dropped > PATIENCE:
                raise SystemExit(f"{file.name} did not lead to new lists: look at {settings.home}/airflow/logs")
            time.sleep(0.25)
        seen = time.time() - dropped
        while api.unfinished_runs(REFRESH):
            time.sleep(0.25)
        cpu = {name: after - cpu.get(name, 0.0) for name, after in cpu_seconds(settings).items()}
        run_of[REFRESH] = next(run["dag_run_id"] for run in _runs(api, REFRESH) if run["dag_run_id"] not in runs_before)
        tasks = [task for dag_id, run_id in run_of.items() for task in _tasks(api, dag_id, run_id, dropped)]
    print(f"\n{file.name}: {live} was live after {seen:.1f} s; load of the machine {os.getloadavg()[0]:.1f}")
    print(f"  the file was seen and a run asked for after {triggered - dropped:.1f} s")
    print(f"  {'':28}{'asked':>7}{'began':>7}{'ended':>7}   {'waited':>6}{'took':>7}")
    waited = took = last = 0.0
    for task in sorted(tasks, key=lambda each: each.began):
        if task.state == "skipped":
            print(f"  {task.name:28} skipped")
            continue
        waited, took = waited + task.began - last, took + task.ended - task.began
        print(
            f"  {task.name:28}{task.asked:7.1f}{task.began:7.1f}{task.ended:7.1f}   {task.began - last:6.1f}"
            f"{task.ended - task.began:7.1f}"
        )
        last = max(last, task.ended)
    print(f"  in tasks {took:.1f} s, between them {waited:.1f} s")
    print("  CPU s: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in sorted(cpu.items())), flush=True)
    return seen


def _runs(api: Any, dag_id: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = api.read(f"/api/v2/dags/{dag_id}/dagRuns?order_by=-run_after&limit=20")["dag_runs"]
    return runs


def _tasks(api: Any, dag_id: str, run_id: str, dropped: float) -> Iterator[Task]:
    for entry in api.read(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]:
        times = [
            datetime.fromisoformat(entry[name]).timestamp() - dropped if entry[name] else 0.0
            for name in ("scheduled_when", "start_date", "end_date")
        ]
        yield Task(f"{dag_id}.{entry['task_id']}", times[0], times[1], times[2], entry["state"])


def cpu_seconds(settings: Settings) -> dict[str, float]:
    """CPU seconds of each server so far, with those of its tasks."""
    from ncf_pipeline.local.state import read_services

    used = {}
    for name, server in read_services(settings.home).processes.items():
        used[name] = 0.0
        with suppress(psutil.Error):
            process = psutil.Process(server.pid)
            for member in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    used[name] += sum(member.cpu_times()[:4])
    return used


# --- only those for whom something changed ---


@dataclass(frozen=True)
class Cost:
    """What a step took: seconds, CPU seconds of Python and of Postgres, MB of Python at most."""

    name: str
    seconds: float
    python: float
    postgres: float
    peak_mb: int


def fill(settings: Settings, interactions: pd.DataFrame) -> None:
    """Puts purchases into the database as if they had been loaded, which would take longer."""
    made = pd.DataFrame(
        {
            "invoice_no": interactions["invoice_no"],
            "line_number": interactions.groupby("invoice_no").cumcount() + 1,
            "stock_code": interactions["stock_code"],
            "description": interactions["description"],
            "quantity": interactions["quantity"],
            "invoice_date": interactions["purchased_at"],
            "unit_price": interactions["unit_price"],
            "customer_id": interactions["customer_id"],
            "country": interactions["country"],
            "batch_id": 1,
        }
    )
    with closing(psycopg2.connect(settings.database())) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "insert into raw.batch (source, sha256, status, lines_read, lines_merged, finished_at)"
                " values ('made up', '-', 'merged', %(lines)s, %(lines)s, now())",
                {"lines": len(made)},
            )
            for start in range(0, len(made), 500_000):
                text = StringIO()
                made[start : start + 500_000].to_csv(text, index=False, header=False)
                text.seek(0)
                cursor.copy_expert(
                    f"copy retail.invoice_line ({', '.join(made.columns)}) from stdin (format csv)", text
                )
            cursor.execute(
                "insert into retail.invoice select invoice_no, max(line_number), retail.invoice_sha256(invoice_no), 1"
                " from retail.invoice_line group by invoice_no"
            )
            cursor.execute(
                "insert into retail.product select stock_code, min(description), max(invoice_date)"
                " from retail.invoice_line group by stock_code"
            )
            cursor.execute("select retail.summarise_new_lines()")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("vacuum (analyze) retail.invoice_line, retail.invoice, retail.product")  # as autovacuum does


def write_day(path: Path, interactions: pd.DataFrame) -> int:
    """Writes a day on which one in a hundred customers buys two to nine products; returns how many customers buy."""
    random = np.random.default_rng(1)
    customers = interactions["customer_id"].unique()
    buyers = random.choice(customers, max(1, int(BOUGHT * len(customers))), replace=False)
    buyer = np.repeat(np.arange(len(buyers)), random.integers(2, 10, len(buyers)))
    like = interactions.iloc[random.integers(len(interactions), size=len(buyer))]
    day = interactions["purchased_at"].max().normalize() + timedelta(days=1)
    pd.DataFrame(
        {
            "InvoiceNo": 9_000_000 + buyer,
            "StockCode": like["stock_code"].to_numpy(),
            "Description": like["description"].to_numpy(),
            "Quantity": like["quantity"].to_numpy(),
            "InvoiceDate": (day + pd.to_timedelta(8 * 3600 + buyer % 36_000, unit="s")).strftime("%Y-%m-%d %H:%M:%S"),
            "UnitPrice": like["unit_price"].to_numpy(),
            "CustomerID": buyers[buyer],
            "Country": "United Kingdom",
        }
    ).drop_duplicates(["InvoiceNo", "StockCode"]).to_csv(path, index=False)
    return len(buyers)


def _measured(function: Callable[..., Any], arguments: Sequence[object]) -> tuple[Any, float, int]:
    """What a function returns, its CPU seconds with those of its children, and its peak in MB."""
    result = function(*arguments)
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return result, cpu, own.ru_maxrss // 1024


@contextmanager
def logged() -> Iterator[None]:
    """Lets a process say what the tasks log."""
    import logging

    logging.basicConfig(level=logging.INFO, format="    %(relativeCreated)7d ms %(message)s", stream=sys.stdout)
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    yield


def prepare(settings: Settings) -> list[str]:
    """The task of that name."""
    from ncf_pipeline.serving.publish import prepare

    with logged():
        return prepare(settings)


def score(settings: Settings, parts: Sequence[str]) -> bool:
    """The task of that name, for all shards."""
    from ncf_pipeline.serving.scoring import score_shards

    with logged():
        return score_shards(settings, parts)


def publish(settings: Settings, parts: Sequence[str]) -> int | None:
    """The task of that name."""
    from ncf_pipeline.serving.publish import publish_parts

    with logged():
        return publish_parts(settings, parts)


def changed(customers: int, products: int, lines: int, train_on: int, home: Path) -> None:
    """Measures a refresh that scores only whom a day has changed."""
    from ncf_pipeline.local import serving

    with serving(Settings(home=home, approval=False, refresh="changed")) as settings:
        interactions = make_interactions(customers, products, lines)
        fill(settings, interactions)
        buyers = write_day(home / "day.csv", interactions)
        print(f"{customers:,} customers, {products:,} products, {lines:,} lines")
        del interactions
        print(in_new_process(serve_a_model, settings, train_on), flush=True)
        for what in ("all", "changed"):
            costs = []
            if what == "changed":
                costs += [step(settings, "ingest", load, settings, [home / "day.csv"])[1]]
            (parts, cost) = step(settings, "prepare", prepare, settings)
            costs += [cost]
            costs += [step(settings, f"score ({len(parts)} shards)", score, settings, parts)[1]]
            costs += [step(settings, "publish", publish, settings, parts)[1]]
            print(f"\n{'everybody' if what == 'all' else f'{buyers:,} customers bought'}:", flush=True)
            for cost in costs:
                print(
                    f"  {cost.name:20}{cost.seconds:7.1f} s{cost.python:8.1f} s of Python{cost.postgres:8.1f} s of "
                    f"Postgres{cost.peak_mb:8,} MB"
                )
            print(f"  together {sum(cost.seconds for cost in costs):.1f} s; load {os.getloadavg()[0]:.1f}", flush=True)
        with closing(psycopg2.connect(settings.database())) as connection, connection.cursor() as cursor:
            cursor.execute("select refreshed from ml.publication order by number desc limit 1")
            print(f"  {json.dumps(cursor.fetchone())}", flush=True)


def step(settings: Settings, name: str, function: Callable[..., Any], *arguments: object) -> tuple[Any, Cost]:
    """Runs a step in a process of its own; returns its result, and what it took."""
    before, begun = cpu_seconds(settings), time.perf_counter()
    result, cpu, peak = in_new_process(_measured, function, arguments)
    seconds = time.perf_counter() - begun
    time.sleep(0.2)  # the server counts a connection's seconds when its process has ended
    postgres = cpu_seconds(settings)["postgres"] - before["postgres"]
    return result, Cost(name, seconds, cpu, postgres, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    airflow = kinds.add_parser("airflow", help="a day's file, in the embedded Airflow")
    airflow.add_argument("--data", type=Path, help="a folder of day files. Default: a made-up shop")
    airflow.add_argument("--rounds", type=int, default=3, help="days that are measured, one after the other")
    airflow.add_argument("--home", type=Path, help="keep the shop there, and go on with it the next time")
    only = kinds.add_parser("changed", help="a day's file, and NCF_REFRESH=changed")
    only.add_argument("--customers", type=int, default=200_000)
    only.add_argument("--products", type=int, default=5_000)
    only.add_argument("--lines", type=int, default=2_000_000)
    only.add_argument("--train-on", type=int, default=4_000, help="customers on whom the model is trained")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ncf-bench-") as folder:
        home = getattr(options, "home", None) or Path(folder) / "home"
        home.mkdir(parents=True, exist_ok=True)
        if options.kind == "airflow":
            in_airflow(options.data, options.rounds, home)
        else:
            changed(options.customers, options.products, options.lines, options.train_on, home)


if __name__ == "__main__":
    main()
