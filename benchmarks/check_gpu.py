"""Checks training on a CUDA device against the CPU: `make check-gpu`, or `python benchmarks/check_gpu.py`.

    python benchmarks/check_gpu.py --workbook "Online Retail.xlsx"
    python benchmarks/check_gpu.py --prepare FOLDER --workbook "Online Retail.xlsx"    # where Postgres is
    python benchmarks/check_gpu.py --data FOLDER --minutes 9 --out FOLDER               # where the device is

It trains a backtest and a refit of a shop on the device and on the CPU, with each precision, with and without
`torch.compile`; kills a training after an epoch, and lets another process resume it; trains in two processes under
torchrun; and trains a made-up shop with 70,000 products. Each row of the table is printed, and written to `--out`, as
soon as it is measured. Steps are in order of worth; what no time is left for is left out, and a line says so.

The shop is that of the workbook, or of a folder that `--prepare` has written; without either, it is made up. Training
from a prepared folder needs torch, NumPy, SciPy, pandas, pyarrow and safetensors alone.

Features are computed once for each shop and cutoff, by NumPy on the CPU, whatever the device: `features s`. All
trainings of a step share them. `total s` is what a training takes by itself, features included, until the weights are
done.

The shop is trained with several seeds on both, because one seed is one sample. The exit code is 1 if a step fails, the
mean Precision@5 on the device is not that of the CPU within what seeds differ by, or a resumed training has other
epochs than one that was not killed. Without a CUDA device, it says so, and the code is 0.
"""

import argparse
import functools
import gc
import json
import logging
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

SEED_NOISE = 0.003
"""By how much Precision@5 differs between two seeds of the real shop. Seeds of a smaller shop may differ by more."""

FEWEST_SEEDS = 3
"""From so many seeds on, a shop's own spread is known."""

STANDARD_ERRORS = 2.0
"""How many of them two means of seeds may differ by: 1 in 20 such checks of equal trainings fails."""

ON_CPU = ", the CPU's default"
"""Marks the training that others are compared with: in a rehearsal, they are all on the CPU."""

K, TOP_N = 5, 10
HOLDOUT = timedelta(days=28)
ENDING = 20.0
"""Seconds before the end of the time at which no step may begin, and a running one is stopped."""

LIMITS = {"resumed": 120.0, "killed": 120.0, "compiled": 150.0, "torchrun": 150.0}
"""Most seconds of a step, if the whole check has little time: what hangs must not take the time of the others."""


@dataclass(frozen=True)
class Options:
    """What is the same in every process of a check.

    Attributes:
        device: `cuda`, or `cpu` for a rehearsal.
        data: a folder that `--prepare` has written; None for a made-up shop.
        shop: customers, products and lines of the made-up shop.
        large: those of the shop with the large catalogue.
        quick: whether to train a small network for a rehearsal.
        deadline: `time.time()` at which the check must have ended.
        minutes: time for the whole check.
        folder: what steps leave for each other.
        seeds: with how many the shop is trained.
    """

    device: str
    data: str | None
    shop: tuple[int, int, int]
    large: tuple[int, int, int]
    quick: bool
    deadline: float
    minutes: float
    folder: str
    seeds: int = 1

    def left(self) -> float:
        """Seconds until no step may begin."""
        return self.deadline - ENDING - time.time()


@dataclass(frozen=True)
class Row:
    """One training, as the table shows it. None for what was not measured.

    Attributes:
        shop: `shop` or `large`.
        training: backtest or refit, and how.
        device: where it was trained.
        precision: of matrix products.
        seed: of the training.
        for_you: Precision@5 over the known customers of the holdout; of a backtest.
        discover: the same, of products new to the customer.
        features_s: seconds for the features, on the CPU.
        epochs: number of epochs, those that choose their number included.
        epoch_s: seconds of one over all queries, the mean.
        total_s: seconds of the whole training, features included.
        device_mb: peak memory of the device.
        host_mb: peak resident memory of the process, with the features of the step's other trainings.
    """

    shop: str
    training: str
    device: str
    precision: str
    seed: int = 0
    for_you: float | None = None
    discover: float | None = None
    features_s: float | None = None
    epochs: int | None = None
    epoch_s: float | None = None
    total_s: float | None = None
    device_mb: float | None = None
    host_mb: float | None = None

    HEAD = (
        "| shop | training | device | precision | seed | P@5 for_you | P@5 discover | features s | epochs "
        "| s per epoch | total s | device MB | host MB |\n"
        "| --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    )

    def as_markdown(self) -> str:
        """A row of the table."""
        forms = {
            "for_you": ".4f", "discover": ".4f", "features_s": ".1f", "epochs": "d", "epoch_s": ".2f", "total_s": ".1f",
            "device_mb": ",.0f", "host_mb": ",.0f",
        }  # fmt: skip
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return (
            f"| {' | '.join('' if value is None else format(value, forms.get(name, '')) for name, value in values)} |"
        )


# The process that measures. It sends rows and notes as lines of JSON to the process that prints them.


def send(kind: str, content: object) -> None:
    print(json.dumps({kind: content}), flush=True)


class Notes(logging.Handler):
    """Sends the package's warnings, such as a compilation that failed."""

    def emit(self, record: logging.LogRecord) -> None:
        send("note", record.getMessage())


def read_shop(options: Options, name: str) -> tuple[Any, datetime]:
    """The interactions of a shop, and the instant just after the last one."""
    import pandas as pd
    from scale import CUTOFF, make_interactions

    if name == "large" or options.data is None:
        return make_interactions(*(options.large if name == "large" else options.shop)), CUTOFF
    interactions = pd.read_parquet(Path(options.data) / "shop.parquet")
    newest: datetime = interactions["purchased_at"].max().to_pydatetime()
    return interactions, newest.replace(microsecond=0) + timedelta(seconds=1)


def recipe_of(options: Options) -> Any:
    from ncf_pipeline.model.recipe import Recipe

    small = Recipe(
        max_epochs=2, min_steps=4, max_instants=3, embedding_dim=8, hidden=(16, 8), popular_candidates=20,
        taste_candidates=5, similar_customers=20, copurchase_neighbours=20,
    )  # fmt: skip
    # Trees are trained on the CPU, whatever the device.
    return (small if options.quick else Recipe()).network_alone()


class Bench:
    """Trains one shop several times; features and what lists need are computed once for each cutoff."""

    def __init__(self, options: Options, shop: str) -> None:
        from ncf_pipeline.model import training

        self.options, self.shop = options, shop
        self.interactions, self.cutoff = read_shop(options, shop)
        self.holdout_start = self.cutoff - HOLDOUT
        self.recipe = recipe_of(options)
        self.feature_seconds: dict[int, float] = {}
        self.chunks: dict[tuple[int, bytes | None], Any] = {}
        compute = training.all_queries

        def once(events: Any, until: int, recipe: Any, among: Any = None) -> Any:
            asked = until, None if among is None else among.tobytes()
            if asked not in self.chunks:
                started = time.perf_counter()
                self.chunks[asked] = compute(events, until, recipe, among)
                self.feature_seconds[until] = time.perf_counter() - started
            return self.chunks[asked]

        patch.object(training, "all_queries", once).start()

    def train(self, what: str, cutoff: datetime, device: str, policy: Any = None, **options: Any) -> tuple[Any, Row]:
        """Trains once; the row has everything but precisions of lists."""
        import torch

        from ncf_pipeline.model.device import place
        from ncf_pipeline.model.features.events import microseconds
        from ncf_pipeline.training.distributed import train

        placement, until = place(device, policy), microseconds(cutoff)
        known = until in self.feature_seconds
        cuda = placement.device.type == "cuda"
        gc.collect()  # what an earlier training left is in no figure
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak is that of what follows
        started = time.perf_counter()
        model = train(self.interactions, cutoff, self.recipe, device=device, policy=policy, **options)
        seconds = time.perf_counter() - started
        features = self.feature_seconds.get(until, 0.0)
        whole = [report.seconds for report in model.history if report.stage == "fit"]
        return model, Row(
            shop=self.shop,
            training=what,
            device=placement.device.type,
            precision=placement.policy.precision,
            seed=self.recipe.seed,
            features_s=features,
            epochs=len(model.history),
            epoch_s=sum(whole) / len(whole),
            total_s=seconds + (features if known else 0.0),
            device_mb=torch.cuda.max_memory_allocated() / 2**20 if cuda else None,
            host_mb=peak_mb(),
        )

    @functools.cached_property
    def truth(self) -> Any:
        from ncf_pipeline.evaluation.scores import truth_of

        return truth_of(self.interactions, self.holdout_start, self.cutoff)

    def scored(self, row: Row, model: Any) -> Row:
        """The row with Precision@5 of both questions, over the holdout's known customers."""
        import pandas as pd

        from ncf_pipeline.evaluation.scores import score_by_customer

        known = list(self.truth.known_customers)
        self.maker.scorer.model = model  # all models here have the same customers and products
        lists = pd.concat(self.maker.customers(TOP_N, chosen=known), ignore_index=True)
        for_you, discover = (
            float(frame.loc[frame.index.isin(known), "precision_at_k"].mean())
            for frame in (score_by_customer(lists, self.truth, question=name, k=K) for name in ("for_you", "discover"))
        )
        return replace(row, for_you=for_you, discover=discover)

    @functools.cached_property
    def maker(self) -> Any:
        from ncf_pipeline.model.lists.assemble import ListMaker

        return ListMaker(self.first, self.interactions, self.holdout_start)

    first: Any = None

    def backtest(self, what: str, device: str, policy: Any = None, **options: Any) -> tuple[Any, Row]:
        """Trains until the holdout, and scores the lists."""
        model, row = self.train(what, self.holdout_start, device, policy, **options)
        self.first = self.first or model
        row = self.scored(row, model)
        send("row", asdict(row))
        return model, row

    def refit(self, device: str, epochs: int) -> None:
        """Trains on everything."""
        send("row", asdict(self.train("refit", self.cutoff, device, epochs=epochs)[1]))


def peak_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def warm_up(device: str) -> None:
    """Trains a tiny shop, so that starting CUDA and loading its kernels is in no figure."""
    from scale import CUTOFF, make_interactions

    from ncf_pipeline.model.recipe import Recipe
    from ncf_pipeline.training.distributed import train

    started = time.perf_counter()
    recipe = Recipe(max_instants=2, min_steps=2, max_epochs=1)
    train(make_interactions(60, 60, 3000), CUTOFF, recipe, device=device, epochs=1)
    send("note", f"Starting {device} and one epoch of a tiny shop took {time.perf_counter() - started:.1f} s.")


def measure_shop(options: Options) -> None:
    """The shop on the device and on the CPU: a backtest and a refit."""
    from safetensors.torch import save_file

    device = options.device
    warm_up(device)
    bench = Bench(options, "shop")
    model, _ = bench.backtest("backtest", device)
    folder = Path(options.folder)
    save_file(model.state().tensors, folder / "undisturbed.safetensors")
    (folder / "undisturbed.json").write_text(json.dumps([model.epochs, len(model.history)]))
    on_cpu, _ = bench.backtest(f"backtest{ON_CPU}", "cpu")
    bench.refit(device, model.epochs)
    bench.refit("cpu", on_cpu.epochs)


def measure_policies(options: Options) -> None:
    """The shop on the device with each other precision, and with the batches on the host or on the device."""
    from ncf_pipeline.model.device import POLICIES, Policy, Precision

    warm_up(options.device)
    bench, cuda = Bench(options, "shop"), options.device == "cuda"
    default = POLICIES["cuda" if cuda else "cpu"]
    plain = replace(default, compile_from=None)
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16") if cuda else ("fp32", "bf16")
    policies: list[tuple[str, Policy]] = [
        *(("backtest", replace(plain, precision=precision)) for precision in precisions),
        ("backtest, batches from the host", replace(plain, resident=False)),
        ("backtest, batches on the device", replace(plain, resident=True)),
    ]
    seconds = 0.0
    for what, policy in policies:
        if policy in (default, plain):
            continue
        if options.left() < 2 * seconds:
            send("note", f"Left out, no time: {what} in {policy.precision}.")
            continue
        seconds = bench.backtest(what, options.device, policy)[1].total_s or 0.0


def measure_seeds(options: Options) -> None:
    """The shop on the device and on the CPU with the other seeds, in turn: what time is left for, both have."""
    warm_up(options.device)
    bench = Bench(options, "shop")
    usual, longest = bench.recipe, 0.0
    for seed in range(1, options.seeds):
        if options.left() < longest:
            send("note", f"Left out, no time: seeds from {seed} on.")
            return
        started = time.perf_counter()
        bench.recipe = replace(usual, seed=seed)
        bench.backtest("backtest", options.device)
        bench.backtest(f"backtest{ON_CPU}", "cpu")
        longest = max(longest, time.perf_counter() - started)


def measure_compiled(options: Options) -> None:
    """The shop on the device, compiled. A step of its own: if compilation hangs, only this step is lost."""
    from ncf_pipeline.model.device import POLICIES, Precision

    warm_up(options.device)
    bench = Bench(options, "shop")
    default = POLICIES["cuda" if options.device == "cuda" else "cpu"]
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if options.device == "cuda" else ("fp32",)
    for precision in precisions:
        bench.backtest("backtest, compiled", options.device, replace(default, precision=precision, compile_from=0))


def measure_large(options: Options) -> None:
    """The shop with the large catalogue on the device; then as many epochs on the CPU as the time allows."""
    warm_up(options.device)
    bench = Bench(options, "large")
    started = time.perf_counter()
    model, _ = bench.backtest("backtest", options.device)
    seconds = time.perf_counter() - started
    # With little time, the CPU trains one epoch, and so does the device, to compare them.
    epochs = model.epochs if options.minutes >= 30 else 1
    bench.backtest(f"backtest, epochs fixed at {epochs}", options.device, epochs=epochs)

    def tell(report: Any) -> None:
        # If its time is up before the lists are made, at least this is known.
        send("note", f"large, on the CPU: epoch {report.epoch} took {report.seconds:.1f} s.")

    if options.left() > seconds / 2:
        what = f"backtest, epochs fixed at {epochs}{ON_CPU}"
        bench.backtest(what, "cpu", epochs=epochs, on_epoch=tell)
    else:
        send("note", "Left out, no time: the large shop on the CPU.")
    if options.left() > seconds:
        bench.chunks.clear()
        bench.refit(options.device, model.epochs)
    else:
        send("note", "Left out, no time: the large shop's refit.")


def train_and_die(options: Options) -> None:
    """Trains a backtest with checkpoints, and is killed after the first epoch."""
    bench = Bench(options, "shop")
    bench.train(
        "killed",
        bench.holdout_start,
        options.device,
        checkpoints=checkpoint_file(options),
        on_epoch=lambda _: os.kill(os.getpid(), signal.SIGKILL),
    )


def resume(options: Options) -> None:
    """Continues the training that was killed, and compares the weights with those of one that was not."""
    import torch
    from safetensors.torch import load_file

    warm_up(options.device)
    bench, folder = Bench(options, "shop"), Path(options.folder)
    reports: list[Any] = []
    model, _ = bench.backtest(
        "backtest, killed after its first epoch and resumed",
        options.device,
        checkpoints=checkpoint_file(options),
        on_epoch=reports.append,
    )
    undisturbed = load_file(folder / "undisturbed.safetensors")
    epochs = json.loads((folder / "undisturbed.json").read_text())
    tensors = model.state().tensors
    apart = max(float((tensors[name].double() - other.double()).abs().max()) for name, other in undisturbed.items())
    equal = all(torch.equal(tensors[name], other) for name, other in undisturbed.items())
    in_words = "bit by bit those" if equal else f"up to {apart:.1e} from those"
    send(
        "note", f"Resumed after epoch 1 of {len(model.history)}: the weights are {in_words} of one that was not killed."
    )
    if [model.epochs, len(model.history)] != epochs or len(reports) != len(model.history) - 1:
        send("failure", f"The resumed training has {model.epochs} epochs, not the {epochs[0]} of the undisturbed one.")
    if apart > 1e-3 and options.device == "cpu":  # on CUDA, sums have no fixed order: precision alone is compared
        send("failure", f"The resumed training's weights differ by up to {apart:.1e}.")


def checkpoint_file(options: Options) -> Any:
    from ncf_pipeline.training.checkpoints import CheckpointFile

    return CheckpointFile(Path(options.folder) / "checkpoints", "killed")


def train_together(options: Options) -> None:
    """One of two processes that torchrun started."""
    import torch

    from ncf_pipeline.training import distributed

    cuda = options.device == "cuda"
    sharing = cuda and torch.cuda.device_count() < int(os.environ["WORLD_SIZE"])

    def command() -> None:
        backend = "NCCL, a device each" if cuda and not sharing else "gloo"
        how = "two processes, gloo, one device for both" if sharing else f"two processes, {backend}"
        warm_up(options.device)
        Bench(options, "shop").backtest(f"backtest, {how}", options.device)
        if sharing:
            send("note", "NCCL was not tested: it needs a CUDA device for each process, and this machine has one.")

    distributed.run(command, sharing=sharing)


STEPS: Mapping[str, Callable[[Options], None]] = {
    "shop": measure_shop,
    "killed": train_and_die,
    "resumed": resume,
    "seeds": measure_seeds,
    "policies": measure_policies,
    "compiled": measure_compiled,
    "torchrun": train_together,
    "large": measure_large,
}


def measure(name: str, options: Options) -> None:
    """Runs a step in this process."""
    logging.getLogger("ncf_pipeline").addHandler(Notes(logging.WARNING))
    STEPS[name](options)


# The process that starts the others and prints.


class Page:
    """The table so far: printed, and written to a file, line by line.

    Args:
        path: of the file; None for none.
        judges: whether precisions must be those of the CPU. In a rehearsal's small shop, noise is larger.
    """

    def __init__(self, path: Path | None, *, judges: bool) -> None:
        self.path, self.judges = path, judges
        self.rows: list[Row] = []
        self.failures: list[str] = []
        self.notes: list[str] = []

    def line(self, text: str) -> None:
        """Prints a line at once: if the process is stopped, nothing measured is lost."""
        print(text, flush=True)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")

    def receive(self, message: Mapping[str, Any]) -> None:
        """Takes what a measuring process has sent."""
        for kind, content in message.items():
            if kind == "row":
                self.rows.append(Row(**content))
                self.line(self.rows[-1].as_markdown())
            elif kind == "failure":
                self.failures.append(content)
            elif kind == "note":
                self.notes.append(content)
                self.line(f"<!-- {content} -->")

    def end(self) -> None:
        """Writes what the table cannot say, and every failure."""
        self.line("")
        for note in dict.fromkeys(self.notes):
            self.line(f"- {note}")
        for verdict in verdicts(self.rows):
            self.line(f"- {verdict}")
        if self.judges:
            self.failures += misses(self.rows)
        for failure in self.failures:
            self.line(f"- FAILED: {failure}")
        self.line(f"- {'Not passed' if self.failures else 'Passed'}.")


def misses(rows: Sequence[Row]) -> list[str]:
    """Precisions that are not those of the CPU within what seeds differ by: a sentence each.

    On a device, sums have no fixed order, and dropout has another stream: two trainings differ as two seeds do. What is
    compared is the mean over seeds, each seed's mean over the trainings that should give the same. Those of several
    processes see other batches, and are on their own. Both means may differ by `STANDARD_ERRORS` of the difference, by
    the spread of the shop's own seeds, and by `SEED_NOISE` in any case.
    """
    found = []
    for shop in dict.fromkeys(row.shop for row in rows):
        on_cpu = _all_of_cpu(rows, shop)
        others = [row for row in rows if row.shop == shop and row not in on_cpu]
        if shop == "large":
            others = [row for row in others if row.epochs in {cpu.epochs for cpu in on_cpu}]
        for together in (False, True):
            alike = [row for row in others if ("processes" in row.training) is together]
            for question in ("for_you", "discover"):
                device, cpu = _by_seed(alike, question), _by_seed(on_cpu, question)
                if not device or not cpu:
                    continue
                mean, reference = statistics.fmean(device), statistics.fmean(cpu)
                allowed = _allowed(device, cpu)
                if not abs(mean - reference) <= allowed:
                    found.append(
                        f"{shop}{', several processes' if together else ''}: Precision@{K} of {question} is {mean:.4f} "
                        f"on the device ({_seeds(device)}), but {reference:.4f} on the CPU ({_seeds(cpu)}). They may "
                        f"differ by {allowed:.4f}."
                    )
    return found


def _by_seed(rows: Sequence[Row], question: str) -> list[float]:
    """The mean of each seed."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if (value := getattr(row, question)) is not None:
            values.setdefault(row.seed, []).append(value)
    return [statistics.fmean(of_seed) for of_seed in values.values()]


def _allowed(device: Sequence[float], cpu: Sequence[float]) -> float:
    """By how much the means of two groups of seeds may differ, if both are of the same distribution."""
    spreads = [statistics.variance(side) for side in (device, cpu) if len(side) >= FEWEST_SEEDS]
    if not spreads:
        return SEED_NOISE
    variance = statistics.fmean(spreads) * (1 / len(device) + 1 / len(cpu))
    return max(SEED_NOISE, STANDARD_ERRORS * math.sqrt(variance))


def _seeds(values: Sequence[float]) -> str:
    return "one seed" if len(values) == 1 else f"{len(values)} seeds"


def verdicts(rows: Sequence[Row]) -> list[str]:
    """How many times as fast as the CPU each backtest on the device is."""
    told = []
    for row in rows:
        cpu = _of_cpu(rows, row.shop)
        if (
            cpu is None
            or ON_CPU in row.training
            or row.seed != cpu.seed
            or row.for_you is None
            or not (row.epoch_s and row.total_s)
        ):
            continue
        name = f"{row.shop}, {row.training}, {row.precision}"
        speed = f"an epoch is {_ratio(cpu.epoch_s, row.epoch_s)}"
        if row.shop == "large" and row.epochs != cpu.epochs:  # another model
            told.append(f"{name}: {speed} times as fast as on the CPU.")
            continue
        told.append(
            f"{name}: {speed} times, the whole training {_ratio(cpu.total_s, row.total_s)} times as fast as on the "
            f"CPU; Precision@{K} {_apart(row.for_you, cpu.for_you)} and {_apart(row.discover, cpu.discover)}."
        )
    return told


def _ratio(slow: float | None, fast: float | None) -> str:
    return f"{slow / fast:.1f}" if slow and fast else "?"


def _apart(value: float | None, other: float | None) -> str:
    return f"{value - other:+.4f}" if value is not None and other is not None else "?"


def _of_cpu(rows: Sequence[Row], shop: str) -> Row | None:
    """The backtest of that shop on the CPU that others are compared with: the first, of the first seed."""
    return next(iter(_all_of_cpu(rows, shop)), None)


def _all_of_cpu(rows: Sequence[Row], shop: str) -> list[Row]:
    """The backtests of that shop on the CPU, of each seed. In a rehearsal the device is the CPU too: a mark tells."""
    return [row for row in rows if row.shop == shop and row.device == "cpu" and ON_CPU in row.training]


def run_step(name: str, options: Options, page: Page, processes: int = 1) -> int | None:
    """Runs a step in a process of its own, or in several; returns its exit code, None if its time was up."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        command += ["--nproc-per-node", str(processes)]
    command += [__file__, "--step", name, "--options", json.dumps(asdict(options))]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if processes > 1:  # torchrun would give each process a single thread
        cores = len(os.sched_getaffinity(0))
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a machine's own name may not be known to itself
    limit = LIMITS.get(name, float("inf")) * max(1.0, options.minutes / 10)
    log = Path(options.folder) / f"{name}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        timer = _killed_after(process, max(min(options.deadline - ENDING / 2 - time.time(), limit), 1.0))
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(json.JSONDecodeError):
                message = json.loads(line)
                if isinstance(message, dict):
                    page.receive(message)
        code = process.wait()
        timer.cancel()
    if timer.fired:
        page.notes.append(f"Stopped, its time was up: the step {name}.")
        return None
    if code not in (0, -signal.SIGKILL):
        end = log.read_text(errors="replace").strip().splitlines()[-12:]
        page.failures.append(f"the step {name} ended with {code}: " + " / ".join(end))
    return code


class _killed_after:  # noqa: N801 (read as a verb)
    """Kills a process and those it started when the time is up."""

    def __init__(self, process: "subprocess.Popen[str]", seconds: float) -> None:
        import threading

        self.process, self.fired = process, False
        self.timer = threading.Timer(seconds, self._kill)
        self.timer.daemon = True
        self.timer.start()

    def _kill(self) -> None:
        self.fired = True
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def cancel(self) -> None:
        self.timer.cancel()


def check(options: Options, steps: Sequence[str], page: Page) -> None:
    """Runs the steps in order of worth."""
    page.line(about(options))
    page.line("")
    page.line(Row.HEAD)
    for step in steps:
        if options.left() <= 0:
            page.notes.append(f"Left out, no time: the step {step}.")
        elif step == "resumed":
            if not (Path(options.folder) / "undisturbed.json").exists():
                page.notes.append("Left out: a killed training, because there is none to compare with.")
            elif run_step("killed", options, page) != -signal.SIGKILL:
                page.failures.append("the training that was to be killed after its first epoch was not.")
            else:
                run_step("resumed", options, page)
        else:
            run_step(step, options, page, processes=2 if step == "torchrun" else 1)
    page.end()


def about(options: Options) -> str:
    """The machine, in a sentence."""
    import torch

    device = "a rehearsal on the CPU"
    if options.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        device = f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    shops = (
        "the prepared shop"
        if options.data
        else "a made-up shop of {:,} customers, {:,} products, {:,} lines".format(*options.shop)
    )
    large = "{:,} customers, {:,} products, {:,} lines".format(*options.large)
    return (
        f"{datetime.now():%Y-%m-%d}: {device}; {len(os.sched_getaffinity(0))} cores, Python "
        f"{platform.python_version()}, torch {torch.__version__}. `shop` is {shops}; `large` is made up: {large}."
    )


def prepare(folder: Path, workbook: Path) -> None:
    """Ingests a workbook into a Postgres of its own, and writes the snapshot's interactions to `shop.parquet`."""
    from ingested import ingested

    folder.mkdir(parents=True, exist_ok=True)
    interactions = ingested(workbook)
    interactions.to_parquet(folder / "shop.parquet", index=False, compression="zstd")
    print(f"{folder / 'shop.parquet'} has {len(interactions):,} lines.")


def size(text: str) -> tuple[int, int, int]:
    """Customers, products and lines, as in 2500,70000,1500000."""
    customers, products, lines = (int(part) for part in text.split(","))
    return customers, products, lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workbook", type=Path, help="the shop's invoices; needs an embedded Postgres")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="only write the workbook's shop to this folder")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="a folder that --prepare has written")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu rehearses all steps")
    parser.add_argument("--minutes", type=float, default=60, help="time for everything. Default: 60")
    parser.add_argument(
        "--steps", default="shop,resumed,seeds,policies,compiled,torchrun,large", help="Default: %(default)s"
    )
    parser.add_argument("--shop", type=size, help="made-up shop: customers,products,lines")
    parser.add_argument("--large", type=size, help="shop with the large catalogue: customers,products,lines")
    parser.add_argument("--seeds", type=int, default=5, help="with how many the shop is trained. Default: 5")
    parser.add_argument("--quick", action="store_true", help="a small network, for a rehearsal")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table to this file")
    for name in ("--step", "--options"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        values = json.loads(given.options)
        values |= {name: tuple(values[name]) for name in ("shop", "large")}
        measure(given.step, Options(**values))
        return
    if given.prepare is not None:
        if given.workbook is None:
            parser.error("--prepare needs --workbook")
        prepare(given.prepare, given.workbook)
        return
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device on this machine: there is nothing to check. Training runs on the CPU.")
        return
    if given.workbook is not None and given.data is None:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), given.workbook)
            sys.exit(checked(given, Path(folder)))
    sys.exit(checked(given, given.data))


def checked(given: argparse.Namespace, data: Path | None) -> int:
    """Runs the check; returns the exit code."""
    from scale import LARGE_CATALOGUE, USUAL

    page = Page(given.out, judges=not given.quick)
    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            device=given.device,
            data=str(data) if data is not None else None,
            shop=given.shop or USUAL,
            large=given.large or LARGE_CATALOGUE,
            quick=given.quick,
            deadline=time.time() + 60 * given.minutes,
            minutes=given.minutes,
            folder=folder,
            seeds=given.seeds,
        )
        check(options, given.steps.split(","), page)
    return 1 if page.failures else 0


if __name__ == "__main__":
    main()
