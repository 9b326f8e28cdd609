"""How training and scoring scale: `python benchmarks/scale.py` writes docs/scale.md.

`--only 2500,70000,1500000` measures one size. `--only 1000000,5000,10000000 --train-on 4000 --score 100000` trains on a
sample of the customers, and scores many. `--processes 2` scores them as the tasks of a publication do: a process makes
what all customers share from the parts of a snapshot and keeps it, each shard maps it, and lists have chances, reasons
and days. `prepare_mb` is the most memory of that process. A large shop on two cores:
`--only 1000000,100000,50000000 --train-on 4000 --epochs 1 --score 20000 --processes 2`.

Each size is a made-up shop in a process of its own, so that its peak memory is its own. Seconds are wall clock, and CPU
seconds are beside them: if others use the machine, only CPU seconds are comparable.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

# Customers, products, lines. The usual shop is about half as large as Online Retail; the others differ in one number.
USUAL = (2_000, 2_000, 200_000)
GROWTH = {
    "customers": [(1_000, 2_000, 200_000), USUAL, (4_000, 2_000, 200_000)],
    "products": [(2_000, 1_000, 200_000), USUAL, (2_000, 4_000, 200_000)],
    "lines": [(2_000, 2_000, 100_000), USUAL, (2_000, 2_000, 400_000)],
}
LARGE_CATALOGUE = (2_500, 70_000, 1_500_000)
MANY_CUSTOMERS = (1_000_000, 5_000, 10_000_000)
SAMPLE, SCORED = 4_000, 20_000
START, DAYS = datetime(2021, 1, 4), 360
BASKET, FAVOURITES, GROUP = 15, 30, 50
CUTOFF = START + timedelta(days=DAYS)
GPU = "\n## On a GPU\n"
"""The section of docs/scale.md that is written by hand, from the table of `make check-gpu`."""

Size = tuple[int, int, int]  # customers, products, lines
Figures = dict[str, Any]  # seconds, megabytes and counts by name: printed as JSON by one process, read by another
IntArray = npt.NDArray[np.integer[Any]]
LINES_AT_ONCE = 5_000_000
"""Lines that are made up at once: their random numbers take ten times the room of what is kept of them."""
Result = TypeVar("Result")


def make_interactions(customers: int, products: int, lines: int, seed: int = 0) -> pd.DataFrame:
    """Makes lines of customers who buy their favourites, products of three groups that they like, and best sellers.

    Columns have the types of a snapshot's, and take as much room.
    """
    random = np.random.default_rng(seed)
    groups = max(products // GROUP, 3)
    liked = random.integers(groups, size=(customers, 3))
    popularity = 1.0 / (random.permutation(products) + 10.0) ** 0.8
    running = np.cumsum(popularity) / popularity.sum()

    def of_liked(customer: IntArray) -> IntArray:
        group: IntArray = liked[customer, random.integers(3, size=len(customer))]
        product: IntArray = np.minimum(group * GROUP + random.integers(GROUP, size=len(customer)), products - 1)
        return product

    def anything(count: int) -> IntArray:
        return np.minimum(np.searchsorted(running, random.random(count)), products - 1)

    owner = np.repeat(np.arange(customers), FAVOURITES)
    favourites = np.where(random.random(len(owner)) < 0.8, of_liked(owner), anything(len(owner))).reshape(customers, -1)
    visits = max(lines // BASKET, min(3 * customers, lines))
    weight = random.gamma(1.0, 1.0, customers)
    visitor = random.choice(customers, visits, p=weight / weight.sum())
    visitor[:customers] = np.arange(customers)[: len(visitor)]  # each comes at least once, where there are enough
    minute = np.sort(random.integers(DAYS * 24 * 60, size=visits))
    visit = np.sort(random.integers(visits, size=lines))
    visitor = random.permutation(visitor)
    product, quantity = np.empty(lines, np.int32), np.empty(lines)
    for begin in range(0, lines, LINES_AT_ONCE):
        part = slice(begin, min(begin + LINES_AT_ONCE, lines))
        customer, count = visitor[visit[part]], part.stop - part.start
        kind = random.random(count)
        product[part] = np.select(
            [kind < 0.4, kind < 0.75],
            [favourites[customer, random.integers(FAVOURITES, size=count)], of_liked(customer)],
            anything(count),
        )
        quantity[part] = random.integers(1, 13, count)
    descriptions = made_up_descriptions(products, random)
    customer = visitor[visit].astype(np.int32)
    return pd.DataFrame(
        {
            "customer_id": _texts([str(10_000 + number) for number in range(customers)], customer),
            "stock_code": _texts([f"P{number:06d}" for number in range(products)], product),
            "invoice_no": _texts([f"{number:07d}" for number in range(visits)], visit),
            "purchased_at": (np.datetime64(START, "us") + minute.astype("timedelta64[m]"))[visit],
            "quantity": quantity,
            "unit_price": (1 + product % 50) / 4,
            "country": _texts(["United Kingdom", "France"], (customer % 10 == 0).astype(np.int32)),
            "description": _texts(descriptions.tolist(), product),
            "returned_at": np.full(lines, np.datetime64("NaT", "us")),
        },
        copy=False,
    )


def _texts(names: Sequence[str], place: IntArray) -> pd.Series:
    """A column of texts as a snapshot has it: Arrow's, not an object for each line."""
    column: pd.Series = pa.array(names, pa.large_string()).take(pa.array(place)).to_pandas()
    return column


def made_up_descriptions(products: int, random: np.random.Generator) -> npt.NDArray[np.str_]:
    """Makes descriptions: four of two thousand words, some very frequent, and a word for the product's group."""
    words = np.array(["".join(letters) for letters in itertools.product("abcdefghijklm", repeat=3)])[:2000]
    chosen = np.minimum(random.zipf(1.3, size=(products, 4)) - 1, len(words) - 1)
    groups = ["".join("abcdefghij"[int(digit)] for digit in f"{index // GROUP:05d}") for index in range(products)]
    return np.array([f"{' '.join(words[row])} {group}" for row, group in zip(chosen, groups, strict=True)])


def measure(
    customers: int,
    products: int,
    lines: int,
    *,
    epochs: int | None,
    train_on: int | None,
    score: int | None,
    processes: int | None,
) -> Figures:
    """Measures seconds and MB of one size."""
    from ncf_pipeline.model.lists.assemble import ListMaker
    from ncf_pipeline.model.lists.rules import Rules

    if processes is not None:
        return in_shards((customers, products, lines), epochs, train_on, processes, score or customers)
    interactions, model, figures = trained((customers, products, lines), epochs, train_on)
    rules = Rules()
    maker = timed(figures, "state", lambda: ListMaker(model, interactions, CUTOFF, rules))
    # The first batch computes what all customers share.
    timed(figures, "first", lambda: list(maker.customers(10, shard=(0, maker.known))))
    shards = 1 if score is None else max(1, maker.known // score)
    rows = timed(figures, "score", lambda: sum(len(lists) for lists in maker.customers(10, shard=(0, shards))))
    figures["scored"] = rows // 3
    timed(figures, "product_lists", lambda: maker.products(10))
    return figures


def timed(figures: Figures, name: str, function: Callable[[], Result]) -> Result:
    """Adds what a step takes to the figures; returns what it made."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    figures[f"{name}_s"] = round(time.perf_counter() - wall, 1)
    figures[f"{name}_cpu_s"] = round(time.process_time() - cpu, 1)
    figures[f"{name}_mb"] = _peak_mb()
    return result


def trained(size: Size, epochs: int | None, train_on: int | None) -> tuple[pd.DataFrame, Any, Figures]:
    """Makes a shop up, and trains on it, or on so many of its customers."""
    from ncf_pipeline.model.recipe import Recipe
    from ncf_pipeline.model.training import train

    customers, products, lines = size
    interactions = make_interactions(customers, products, lines)
    figures: Figures = {"customers": customers, "products": products, "lines": lines, "data_mb": _resident_mb()}
    sample = interactions
    if train_on is not None:
        sample = interactions[interactions["customer_id"].isin([str(10_000 + number) for number in range(train_on)])]
    model = timed(figures, "train", lambda: train(sample, CUTOFF, Recipe(), device="cpu", epochs=epochs))
    figures["epochs"] = len(model.history)
    _reset_peak()
    return interactions, model, figures


def outside_of(model: Any, rules: Any) -> dict[str, object]:
    """What has a place of its own beside what customers share: see `serving.scoring.Scoring`."""
    return {"rules": rules, "model": model, "network of model": model.network, "chances of model": model.chances}


def keep_shop(folder: str, size: Size, epochs: int | None, train_on: int | None) -> Figures:
    """Keeps a made-up shop and its model in a folder."""
    from ncf_pipeline.registry.artifacts import save_model

    interactions, model, figures = trained(size, epochs, train_on)
    save_model(model, f"file://{folder}/model", lineage={}, card="")
    write_parts(interactions, folder)
    return figures


def in_shards(size: Size, epochs: int | None, train_on: int | None, processes: int, score: int) -> Figures:
    """Makes what all customers share as `prepare` does, and scores about so many customers, each process its shard.

    Each step is a process of its own, so that it has all memory and its peak is its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = {"--epochs": epochs, "--train-on": train_on}
        given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
        made = of_process("--keep-shop", folder, "--only", ",".join(map(str, size)), *given)
        made |= of_process("--prepare", folder)
        shards = processes * max(1, made["known"] // score)
        wall = time.perf_counter()
        running = [
            of_process("--map", folder, "--shard", f"{shard},{shards}", wait=False) for shard in range(processes)
        ]
        figures: list[Figures] = [json.loads(process.communicate()[0]) for process in running]
        if any(process.returncode for process in running):
            raise SystemExit("a shard was not scored")
        return {
            **made,
            "shards_s": round(time.perf_counter() - wall, 1),
            "scored": sum(each["scored"] for each in figures),
            "customers_a_s": round(sum(each["scored"] / each["score_s"] for each in figures)),
            "customers_a_cpu_s": round(
                sum(each["scored"] for each in figures) / sum(each["score_cpu_s"] for each in figures)
            ),
            "shards": figures,
        }


def of_process(*arguments: str, wait: bool = True) -> Any:
    """What this program prints in a process of its own; with `wait=False` the process."""
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE)
    if not wait:
        return process
    printed = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed")
    return json.loads(printed)


def write_parts(interactions: pd.DataFrame, folder: str) -> None:
    """Writes the lines into a folder as a snapshot keeps them, in parts by customer."""
    import polars as pl

    from ncf_pipeline.registry.snapshot_files import bucket_of_lines, in_order, name_of, parts_for

    number = parts_for(len(interactions))
    Path(folder, "snapshot").mkdir()
    lines = pl.from_pandas(interactions)
    part = bucket_of_lines(lines) % number
    for place in range(number):
        in_order(lines.filter(part == place)).write_parquet(f"{folder}/snapshot/{name_of(place, number)}")


def prepare(folder: str) -> Figures:
    """Makes what all customers share from the parts of a snapshot, and keeps it, as `prepare` does."""
    from ncf_pipeline.model.lists.assemble import ListMaker
    from ncf_pipeline.model.lists.fallbacks import fallback_lists
    from ncf_pipeline.model.lists.rules import Rules
    from ncf_pipeline.model.lists.sales import sales_of_parts
    from ncf_pipeline.model.lists.shared import Parts
    from ncf_pipeline.registry.arrays import write_arrays
    from ncf_pipeline.registry.artifacts import load_model
    from ncf_pipeline.registry.snapshot_files import parts_of, read_part

    def read() -> Iterator[pd.DataFrame]:
        for url in parts_of(f"file://{folder}/snapshot"):
            yield read_part(url).to_arrow().to_pandas()

    model, rules = load_model(f"file://{folder}/model"), Rules()
    wall, cpu = time.perf_counter(), time.process_time()
    fallback_lists(sales_of_parts(read, CUTOFF), CUTOFF, 20, rules)
    sales_mb = _peak_mb()
    maker = ListMaker(model, read(), CUTOFF, rules)
    state_mb = _peak_mb()
    maker.make_shared(with_reasons=True, with_due=True)
    parts = Parts(outside_of(model, rules))
    facts = {"maker": parts.of(maker)}
    write_arrays(f"file://{folder}/shared", parts.arrays, facts, personal=parts.personal)
    return {
        "known": maker.known,
        "kept_mb": sum(array.nbytes for array in parts.arrays.values()) // 2**20,
        "prepare_s": round(time.perf_counter() - wall, 1),
        "prepare_cpu_s": round(time.process_time() - cpu, 1),
        "sales_mb": sales_mb,
        "state_mb": state_mb,
        "prepare_mb": _peak_mb(),
    }


def score_mapped(folder: str, shard: tuple[int, int]) -> Figures:
    """Scores a shard as `serving.scoring` does, and writes its part; what is not a customer's lists is left out."""
    import torch

    from ncf_pipeline.model.lists.rules import Rules
    from ncf_pipeline.model.lists.shared import put_together
    from ncf_pipeline.registry.arrays import map_arrays
    from ncf_pipeline.registry.artifacts import load_model
    from ncf_pipeline.serving.scoring import SCHEMA, as_table

    torch.set_num_threads(1)  # of a process of several; each has a core
    model = load_model(f"file://{folder}/model")
    facts, arrays = map_arrays(f"file://{folder}/shared", Path(folder))
    maker = put_together(facts["maker"], arrays, outside_of(model, Rules()))
    for _ in maker.customers(1, shard=(0, maker.known)):
        pass  # what each process makes for itself
    wall, cpu, rows = time.perf_counter(), time.process_time(), 0
    with pq.ParquetWriter(f"{folder}/part-{shard[0]}.parquet", SCHEMA) as writer:
        for lists in maker.customers(10, spare=10, shard=shard, with_chances=True):
            writer.write_table(as_table(lists.assign(reasons=maker.reasons(lists), due=maker.due(lists))))
            rows += len(lists)
    return {
        "scored": rows // 3,
        "score_s": round(time.perf_counter() - wall, 2),
        "score_cpu_s": round(time.process_time() - cpu, 2),
        "own_mb": _status_mb("RssAnon"),
        "mapped_mb": _status_mb("RssFile"),
        "peak_mb": _peak_mb(),
    }


def _reset_peak() -> None:
    """Resets the peak, so that it is that of what follows. Linux only."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _resident_mb() -> int:
    return _status_mb("VmRSS")


def _peak_mb() -> int:
    return _status_mb("VmHWM")


def _status_mb(name: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) // 1024


def in_a_process(size: Size, options: Mapping[str, int | None]) -> Figures:
    """Measures one size in a process of its own."""
    command = [sys.executable, __file__, "--here", "--only", ",".join(map(str, size))]
    for name, value in options.items():
        command += [] if value is None else [f"--{name}", str(value)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{size} failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout)
    print(json.dumps(figures), file=sys.stderr, flush=True)
    return figures


HEAD = (
    "| customers | products | lines | epochs | training s (CPU) | peak MB "
    "| scoring s (CPU) | product lists s | peak MB |"
)


def row(f: Figures) -> str:
    """Writes one size as a row of the table."""
    scoring, cpu = (round(f[f"state{unit}"] + f[f"first{unit}"] + f[f"score{unit}"], 1) for unit in ("_s", "_cpu_s"))
    return (
        f"| {f['customers']:,} | {f['products']:,} | {f['lines']:,} | {f['epochs']} "
        f"| {f['train_s']} ({f['train_cpu_s']}) | {f['train_mb']:,} "
        f"| {scoring} ({cpu}) | {f['product_lists_s']} | {f['product_lists_mb']:,} |"
    )


def growth(name: str, figures: Sequence[Figures]) -> str:
    """Compares the largest of three sizes with the smallest."""
    small, large = figures[0], figures[-1]
    times = large[name] / small[name]
    training = large["train_cpu_s"] / small["train_cpu_s"]
    scoring = sum(large[f"{part}_cpu_s"] for part in ("state", "first", "score")) / sum(
        small[f"{part}_cpu_s"] for part in ("state", "first", "score")
    )
    return (
        f"- {times:.0f} times the {name}: training takes {training:.1f} times the CPU seconds, scoring {scoring:.1f} "
        f"times; the peak of training grows from {small['train_mb']:,} to {large['train_mb']:,} MB. "
        f"{_shape(training, times).capitalize()} in training, {_shape(scoring, times)} in scoring."
    )


def _shape(ratio: float, times: float) -> str:
    return "more than linear" if ratio > 1.15 * times else "linear" if ratio > 0.85 * times else "less than linear"


def report(epochs: int | None) -> None:
    """Measures all sizes, and writes docs/scale.md."""
    # The number of epochs is fixed, because an inner holdout chooses differently from shop to shop.
    sizes = dict.fromkeys(itertools.chain.from_iterable(GROWTH.values()))
    known = {size: in_a_process(size, {"epochs": 1}) for size in sizes}
    known[LARGE_CATALOGUE] = in_a_process(LARGE_CATALOGUE, {"epochs": epochs})
    many = in_a_process(MANY_CUSTOMERS, {"epochs": 1, "train-on": SAMPLE, "score": SCORED})
    per_second = many["scored"] / many["score_s"]
    once = many["state_s"] + many["first_s"]
    lines = [
        "# How it scales",
        "",
        '<!-- Written by benchmarks/scale.py: run `make bench-scale` instead of editing it, up to "On a GPU". -->',
        "",
        f"{date.today().isoformat()}, {len(os.sched_getaffinity(0))} cores. "
        "Made-up shops, each in a process of its own. "
        "Seconds are wall clock, CPU seconds in parentheses: if these differ much, other jobs used the cores. "
        "Peaks include the interactions. Training is one epoch; "
        "for the last shop, the epochs that its inner holdout chooses, and the final training with as many. "
        "Scoring makes three lists for every customer.",
        "",
        HEAD,
        "| --- " * 9 + "|",
        *(row(figures) for figures in known.values()),
        "",
        *(growth(name, [known[size] for size in sizes]) for name, sizes in GROWTH.items()),
        "",
        "## A million customers",
        "",
        f"{many['customers']:,} customers, {many['products']:,} products, {many['lines']:,} lines; the model "
        f"was trained on {SAMPLE:,} of the customers, and the others came after. What all customers share took "
        f"{once:.0f} s, once in each process. Then {many['scored']:,} customers "
        f"were scored at {per_second:,.0f} a second: all would "
        f"take about {(once + many['customers'] / per_second) / 60:.0f} minutes in one process (extrapolated), less in "
        f"shards on several machines. The interactions took {many['data_mb']:,} MB, the peak of scoring was "
        f"{many['score_mb']:,} MB; after the first customer it was {many['first_mb']:,} MB.",
    ]
    path = Path(__file__).parent.parent / "docs" / "scale.md"
    _, gpu, by_hand = path.read_text().partition(GPU)
    path.write_text("\n".join(lines) + f"\n{gpu}{by_hand}")
    print(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one size: customers,products,lines")
    parser.add_argument(
        "--epochs",
        type=int,
        help="number of epochs, of the one size or the large catalogue. Default: chosen on an inner holdout",
    )
    parser.add_argument("--train-on", type=int, help="train on this many customers")
    parser.add_argument("--score", type=int, help="score about this many customers")
    parser.add_argument("--processes", type=int, help="score in so many processes that map what customers share")
    parser.add_argument("--here", action="store_true", help="measure in this process, and print JSON")
    parser.add_argument("--keep-shop", help="make the shop and its model up, keep them in this folder, and print JSON")
    parser.add_argument("--prepare", help="make what all customers share from the parts in this folder, and print JSON")
    parser.add_argument("--map", help="score a shard of what `--processes` has kept in this folder, and print JSON")
    parser.add_argument("--shard", help="i,n: shard i of n, from 0")
    options = parser.parse_args()
    if options.map is not None:
        shard, shards = (int(part) for part in options.shard.split(","))
        print(json.dumps(score_mapped(options.map, (shard, shards))))
        return
    if options.prepare is not None:
        print(json.dumps(prepare(options.prepare)))
        return
    if options.only is None:
        report(options.epochs)
        return
    customers, products, lines = (int(part) for part in options.only.split(","))
    size = (customers, products, lines)
    if options.keep_shop is not None:
        print(json.dumps(keep_shop(options.keep_shop, size, options.epochs, options.train_on)))
        return
    how = {name: getattr(options, name) for name in ("epochs", "train_on", "score", "processes")}
    if options.here:
        print(json.dumps(measure(*size, **how)))
    else:
        in_a_process(size, {name.replace("_", "-"): value for name, value in how.items()})


if __name__ == "__main__":
    main()
