"""What publishing and reading cost: `python benchmarks/serving.py` writes docs/serving.md.

A million customers and a hundred thousand products are published to an embedded Redis, twice, then read, then rolled
back. Readers alternate between the client and a plain GET of the same bytes every second, all of them at once, so that
whatever else the machine does slows both alike.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from datetime import date
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ncf_pipeline.columns import LISTS_OF, Lists
from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.redis import redis_url, start_redis, stop_redis
from ncf_pipeline.serving import publication
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront

TOP_N = 10
COUNTRIES = 40
LETTERED = 0.2  # products whose code has a letter behind its five digits
READ = 100_000  # customers who are read, in no order
PHASE, PHASES = 1.0, 20  # seconds, and how many, half of them of each kind
META = {"model_version": "v1", "cutoff": "2011-12-09T12:51:00", "top_n": TOP_N}

Figures = dict[str, Any]


def made_up_codes(products: int) -> npt.NDArray[np.object_]:
    """Five digits, some with a letter behind, as in the shop that this project learned from."""
    codes = np.char.mod("%05d", 10_000 + np.arange(products) % 90_000)
    lettered = np.random.default_rng(0).random(products) < LETTERED
    letters = np.where(np.arange(products) < 90_000, np.where(lettered, "A", ""), "B")  # none twice
    return np.char.add(codes, letters).astype(object)


def made_up_lists(customers: int, products: int) -> Iterator[tuple[str, pd.DataFrame, float]]:
    """Three full lists for each customer, two for each product, two for each country; how long it took, too."""
    random = np.random.default_rng(1)
    codes = made_up_codes(products)
    for audience, keys, names in (
        ("customer", np.char.mod("%d", np.arange(customers)), LISTS_OF["customer"]),
        ("product", codes, LISTS_OF["product"]),
        (
            "fallback",
            ["*", "United Kingdom", *(f"Country {number}" for number in range(COUNTRIES))],
            LISTS_OF["fallback"],
        ),
    ):
        for start in range(0, len(keys), 10_000):
            began = time.perf_counter()
            some = np.repeat(np.asarray(keys[start : start + 10_000], object), len(names))
            columns = {
                Lists.AUDIENCE: np.full(len(some), audience, object),
                Lists.KEY: some,
                Lists.LIST_NAME: np.tile(np.array(names, object), len(some) // len(names)),
                Lists.STOCK_CODES: list(codes[random.integers(products, size=(len(some), TOP_N))]),
            }
            frame = pd.DataFrame(columns)
            made = time.perf_counter() - began
            yield audience, frame, made


def publish(settings: Settings, store: redis.Redis, customers: int, products: int) -> Figures:
    """Publishes, and measures time and memory."""
    memory: dict[str, int] = {}
    made = 0.0

    def lists() -> Iterator[pd.DataFrame]:
        nonlocal made
        for audience, frame, seconds in made_up_lists(customers, products):
            if audience not in memory:
                memory[audience] = store.info("memory")["used_memory"]
            made += seconds
            yield frame

    done = publication.publish(settings, lists(), meta=META)
    keys = sum(done.keys.values())
    return {
        "number": done.number,
        "keys": keys,
        "seconds": done.seconds - made,
        "made": made,
        "per_customer": (memory["product"] - memory["customer"]) / customers,
        "per_product": (memory["fallback"] - memory["product"]) / products,
    }


def memory_of_keys(store: redis.Redis, settings: Settings, number: int, customers: int) -> float:
    """What Redis itself says of a customer's key, without the table of what expires."""
    name = publication.name_of(number)
    sample = np.random.default_rng(2).integers(customers, size=2000)
    used: list[Any] = [store.memory_usage(f"{settings.key_prefix}:{name}:customer:{key}") for key in sample]
    return float(statistics.mean(used))


def copy_plainly(store: redis.Redis, settings: Settings, customers: int) -> list[int]:
    """The bytes of `for_you` once more, as strings, for a plain GET."""
    live: Any = store.get(f"{settings.key_prefix}:current")
    chosen: list[int] = np.random.default_rng(3).permutation(customers)[:READ].tolist()
    for start in range(0, len(chosen), 1000):
        some = chosen[start : start + 1000]
        pipeline = store.pipeline(transaction=False)
        for key in some:
            pipeline.hget(f"{settings.key_prefix}:{live}:customer:{key}", "for_you")
        lists = pipeline.execute()
        store.mset({f"plain:{key}": text for key, text in zip(some, lists, strict=True)})
    return chosen


def reader(
    url: str,
    prefix: str,
    chosen: Sequence[int],
    seed: int,
    ready: Semaphore,
    begin: "Synchronized[float]",
    answers: "Queue[Any]",
) -> None:
    """One client process: the client in even seconds, a plain GET in odd ones."""
    order = np.random.default_rng(seed).permutation(chosen).tolist()
    # With the options that the client has.
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    plain = redis.Redis.from_url(url, decode_responses=True, socket_timeout=5, socket_connect_timeout=5, retry=retry)
    shop = Storefront(url, prefix=prefix, reasons=False, raise_errors=True, timeout=5)
    kinds = (lambda key: shop.for_customer(key, country="United Kingdom"), lambda key: plain.get(f"plain:{key}"))
    for ask in kinds:
        ask(order[0])
    ready.release()
    while begin.value == 0:
        time.sleep(0.05)
    figures, position = [], 0
    for phase in range(PHASES):
        ask, end = kinds[phase % 2], begin.value + (phase + 1) * PHASE
        took = array("d")
        cpu, now = time.process_time(), time.monotonic()
        while now < end:
            position = (position + 1) % len(order)
            ask(order[position])
            before, now = now, time.monotonic()
            took.append(now - before)
        figures.append((took, time.process_time() - cpu))
    answers.put(figures)


def read(url: str, prefix: str, chosen: Sequence[int], processes: int) -> Figures:
    """Reads a second and latencies of so many client processes, of the client and of a plain GET."""
    context = multiprocessing.get_context("spawn")
    ready, begin, answers = context.Semaphore(0), context.Value("d", 0.0), context.Queue()
    started = [
        context.Process(target=reader, args=(url, prefix, chosen, seed, ready, begin, answers), daemon=True)
        for seed in range(processes)
    ]
    for process in started:
        process.start()
    for _ in started:
        ready.acquire()
    begin.value = time.monotonic() + 0.5
    figures = [answers.get() for _ in started]
    for process in started:
        process.join()
    phases = [
        (
            np.concatenate([np.frombuffer(of_one[phase][0]) for of_one in figures]),
            sum(of_one[phase][1] for of_one in figures),
        )
        for phase in range(PHASES)
    ]
    told: Figures = {}
    for name, of_kind in (("client", phases[0::2]), ("plain", phases[1::2])):
        took = np.concatenate([took for took, _ in of_kind])
        told[name] = {
            "rate": len(took) / len(of_kind) / PHASE,
            "p50": float(np.percentile(took, 50)) * 1000,
            "p99": float(np.percentile(took, 99)) * 1000,
            "cpu": sum(cpu for _, cpu in of_kind) / len(took) * 1e6,
        }
    # Of neighbours in time, since what else the machine does changes.
    told["ratio"] = statistics.median(
        len(client[0]) / len(plain[0]) for client, plain in zip(phases[0::2], phases[1::2], strict=True)
    )
    return told


def roll_back(settings: Settings, store: redis.Redis, number: int) -> tuple[float, float]:
    """Seconds until readers see a former publication, and until that is made to live as long as a new one."""
    pointer, name, seen = f"{settings.key_prefix}:current", publication.name_of(number), []
    began = time.perf_counter()

    def watch() -> None:
        while store.get(pointer) != name:
            time.sleep(0.001)
        seen.append(time.perf_counter() - began)

    thread = threading.Thread(target=watch)
    thread.start()
    publication.flip(settings, number)
    done = time.perf_counter() - began
    thread.join()
    return seen[0], done


def measure(customers: int, products: int) -> Figures:
    """All figures, on an embedded Redis of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ncf-bench-"))
    port = free_port()
    server = start_redis(folder / "redis", port=port, password="bench", log=folder / "redis.log", durable=False)
    try:
        url = redis_url(port, password="bench")
        settings = Settings(redis_url=url, home=folder)
        with redis.Redis.from_url(url, decode_responses=True) as store:
            figures: Figures = {"redis": store.info("server")["redis_version"], "load": os.getloadavg()[0]}
            figures["first"] = publish(settings, store, customers, products)
            print(figures, file=sys.stderr, flush=True)
            figures["usage"] = memory_of_keys(store, settings, 1, customers)
            figures["second"] = publish(settings, store, customers, products)
            print(figures["second"], file=sys.stderr, flush=True)
            chosen = copy_plainly(store, settings, customers)
            figures["reads"] = {processes: read(url, settings.key_prefix, chosen, processes) for processes in (1, 16)}
            print(figures["reads"], file=sys.stderr, flush=True)
            figures["rollback"] = roll_back(settings, store, 1)
    finally:
        stop_redis(server)
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def report(customers: int, products: int, f: Figures) -> list[str]:
    """The figures, as docs/serving.md."""
    one = f["first"]
    rows = [
        f"| {processes} | {name} | {of['rate']:,.0f} | {of['p50']:.2f} | {of['p99']:.2f} | {of['cpu']:.0f} "
        f"| {reads['ratio']:.2f} |"
        for processes, reads in f["reads"].items()
        for name, of in (("`for_customer`", reads["client"]), ("plain `GET`", reads["plain"]))
    ]
    seen, done = f["rollback"]
    return [
        "# What publishing and reading cost",
        "",
        "<!-- Written by benchmarks/serving.py: run `make bench-serving` instead of editing it. -->",
        "",
        f"{date.today().isoformat()}, {len(os.sched_getaffinity(0))} cores, shared by Redis, publisher and readers; "
        f"load average at the start {f['load']:.1f}: other jobs ran. Embedded Redis {f['redis']}, nothing kept on "
        f"disk. {customers:,} customers with three lists of {TOP_N} each, without reasons, and {products:,} products "
        "with two.",
        "",
        "## Publishing",
        "",
        "| | |",
        "| --- | --- |",
        f"| keys | {one['keys']:,} |",
        f"| seconds, of writing, reading back and making live | {one['seconds']:.0f} |",
        f"| keys a second | {one['keys'] / one['seconds']:,.0f} |",
        f"| the same again, beside the first | {f['second']['seconds']:.0f} s |",
        f"| bytes of a customer's key (`MEMORY USAGE`) | {f['usage']:.0f} |",
        f"| bytes by which Redis grows for a customer, all told | {one['per_customer']:.0f} |",
        f"| bytes by which it grows for a product | {one['per_product']:.0f} |",
        f"| rollback: until readers see the lists before | {seen:.2f} s |",
        f"| rollback: until these live as long as new ones | {done:.1f} s |",
        "",
        "What Redis grows by beyond the key itself is its table of what expires, and both tables' room to grow.",
        "",
        "## Reading",
        "",
        "`Storefront.for_customer(id, country=...)` against a `GET` of the same bytes by the same library with the "
        "same options, which is the limit: readers do one in even seconds and the other in odd ones, all of them at "
        "once. The last column is the median over neighbouring seconds of reads of the client to reads of the limit.",
        "",
        "| client processes | | reads a second | p50 ms | p99 ms | CPU of a read, µs | of the limit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--print", action="store_true", help="print the page instead of writing it")
    options = parser.parse_args()
    page = "\n".join(report(options.customers, options.products, measure(options.customers, options.products))) + "\n"
    if not options.print:
        (Path(__file__).parent.parent / "docs" / "serving.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
