"""The cost of publishing and reading: `python benchmarks/serving.py` writes docs/serving.md.

It publishes lists of a million customers and a hundred thousand products to an embedded Redis, twice, reads them, rolls
back, and reads while the next publication is written; then the same in shops with a tenth and a hundredth of the
customers or the products. All readers alternate each second between the client and a plain GET of the same bytes, so
that other load on the machine slows both equally. 16 clients read the same over HTTP, and 1 and 16 by the function of
Redis, in turns with the client; `--only-other-ways` measures that alone, in a smaller shop, and writes those sections
of the page. `--only-bytes` does so for what a customer takes in Redis, by the settings, on each server that is here;
`--server` names further ones.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from list_servers import LIST_SERVERS
from redis.backoff import NoBackoff
from redis.retry import Retry

from ncf_pipeline.api.app import create_app
from ncf_pipeline.api.keys import keys_in
from ncf_pipeline.api.server import server_of
from ncf_pipeline.columns import FOR_YOU, LISTS_OF, Lists
from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.redis import redis_url, start_redis, stop_redis
from ncf_pipeline.serving import publication
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront

TOP_N, SPARE = 10, 10  # products of a list that are shown; that take the places of hidden ones
HIDDEN = 1000  # products that are hidden from everybody
COUNTRIES = 40
LETTERED = 0.2  # share of products whose code has a letter after its five digits
READ = 100_000  # customers whose lists are read, in random order
PHASE, PHASES = 1.0, 20  # seconds of a phase; number of phases, half of them of each kind
META = {"model_version": "v1", "cutoff": "2011-12-09T12:51:00", "top_n": TOP_N}

KEY = "a-key-for-the-benchmark"
OTHER_CUSTOMERS, OTHER_PRODUCTS = 20_000, 5_000  # of the sections about other ways to read alone
OVER_HTTP = "## Over HTTP"
IN_ONE_COMMAND = "## In one command"

IN_REDIS = "## What a customer takes in Redis"
BYTES_CUSTOMERS, BYTES_PRODUCTS = 100_000, 100_000
WHYS: tuple[list[object], ...] = (["bought", 3], ["goes_with", "22423"], ["popular"], ["taste"])
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("the defaults: three lists of 20, of which 10 are shown, with reasons", {"reasons": True}),
    ("`NCF_REASONS=false`", {}),
    ("`NCF_REASONS=false`, `NCF_KEYS_EXPIRE=false`", {"keys_expire": False}),
    ("`NCF_REASONS=false`, `NCF_SPARE=0`", {"spare": 0}),
    ("`NCF_REASONS=false`, `NCF_SPARE=0`, `NCF_KEYS_EXPIRE=false`", {"spare": 0, "keys_expire": False}),
    ("`NCF_CUSTOMER_LISTS=for_you`, with reasons", {"reasons": True, "customer_lists": FOR_YOU}),
    ("`NCF_CUSTOMER_LISTS=for_you`, `NCF_REASONS=false`", {"customer_lists": FOR_YOU}),
    ("`NCF_CUSTOMER_LISTS='for_you buy_again'`, `NCF_REASONS=false`, `NCF_SPARE=2`",
     {"customer_lists": "for_you buy_again", "spare": 2}),
)  # fmt: skip
"""What is set, and how it is measured: without reasons, ten spare products and all three lists if it does not say."""

Figures = dict[str, Any]


def made_up_codes(products: int) -> npt.NDArray[np.object_]:
    """Five digits, some with a letter after them, as in a shop's catalogue."""
    codes = np.char.mod("%05d", 10_000 + np.arange(products) % 90_000)
    lettered = np.random.default_rng(0).random(products) < LETTERED
    letters = np.where(np.arange(products) < 90_000, np.where(lettered, "A", ""), "B")  # all are different
    return np.char.add(codes, letters).astype(object)


def made_up_lists(
    customers: int, products: int, *, spare: int = SPARE, reasons: bool = False
) -> Iterator[tuple[str, pd.DataFrame, float]]:
    """Three full lists for each customer, two for each product, two for each country; and the seconds to make them."""
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
                Lists.STOCK_CODES: list(codes[random.integers(products, size=(len(some), TOP_N + spare))]),
            }
            if reasons:
                whys = np.array([json.dumps(why, separators=(",", ":")) for why in WHYS], object)
                chosen = whys[random.integers(len(WHYS), size=(len(some), TOP_N + spare))]
                columns[Lists.REASONS] = [f"[{','.join(of_list)}]" for of_list in chosen]
            frame = pd.DataFrame(columns)
            made = time.perf_counter() - began
            yield audience, frame, made


def publish(settings: Settings, store: redis.Redis, customers: int, products: int) -> Figures:
    """Publishes; returns time and memory."""
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


def keep_publishing(settings: Settings, customers: int, products: int) -> None:
    """Publishes again and again, in a process of its own, until it is ended."""
    while True:
        publication.publish(settings, (frame for _, frame, _ in made_up_lists(customers, products)), meta=META)


@contextmanager
def while_published(settings: Settings, customers: int, products: int) -> Iterator[None]:
    """Meanwhile, the next publication is written."""
    publisher = multiprocessing.get_context("spawn").Process(
        target=keep_publishing, args=(settings, customers, products), daemon=True
    )
    publisher.start()
    try:
        time.sleep(2)  # until it has begun
        yield
    finally:
        publisher.terminate()
        publisher.join()


def memory_of_keys(store: redis.Redis, settings: Settings, number: int, customers: int) -> float:
    """Bytes of a customer's key by Redis's own account, without its table of expiry times."""
    name = publication.name_of(number)
    sample = np.random.default_rng(2).integers(customers, size=2000)
    used: list[Any] = [store.memory_usage(f"{settings.key_prefix}:{name}:customer:{key}") for key in sample]
    return float(statistics.mean(used))


def copy_plainly(store: redis.Redis, settings: Settings, customers: int) -> list[int]:
    """Copies the bytes of `for_you` into plain strings, to read with GET; returns the customers."""
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


def hide(store: redis.Redis, settings: Settings, products: int, count: int) -> None:
    """Hides as many products, chosen at random, and no others."""
    key = f"{settings.key_prefix}:hidden"
    store.delete(key)
    if count:
        codes = made_up_codes(products)
        store.zadd(key, {code: float("inf") for code in np.random.default_rng(4).permutation(codes)[:count]})


def reader(
    url: str,
    prefix: str,
    chosen: Sequence[int],
    seed: int,
    ready: Semaphore,
    begin: "Synchronized[float]",
    answers: "Queue[Any]",
    against: str,
) -> None:
    """One client process: the client in even seconds, another way in odd ones."""
    order = np.random.default_rng(seed).permutation(chosen).tolist()
    shop = Storefront(url, prefix=prefix, reasons=False, raise_errors=True, timeout=5)
    kinds: tuple[Callable[[int], Any], ...] = (
        lambda key: shop.for_customer(key, country="United Kingdom"),
        other_way(url, prefix, against),
    )
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


def other_way(url: str, prefix: str, against: str) -> Callable[[int], Any]:
    """What the client is compared to, with the same options as the client's.

    Args:
        url: of the list store.
        prefix: of its keys.
        against: `plain`: a GET of the same bytes; `function`: one FCALL_RO; or the port of the API.
    """
    if against.isdigit():
        return over_http(int(against))
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    plain = redis.Redis.from_url(url, decode_responses=True, socket_timeout=5, socket_connect_timeout=5, retry=retry)
    if against == "plain":
        return lambda key: plain.get(f"plain:{key}")
    asked = ("ncf_lists", 1, f"{prefix}:current", "list", FOR_YOU, "country", "United Kingdom", "customer")

    def ask(key: int) -> Any:
        return json.loads(plain.fcall_ro(*asked, str(key)))["lists"][FOR_YOU]

    return ask


def over_http(port: int) -> Callable[[int], bytes]:
    """Reads a list from the API on this port, on one connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {KEY}"}

    def ask(key: int) -> bytes:
        connection.request("GET", f"/customers/{key}/lists/for_you?country=United%20Kingdom", headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content!r}")
        return content

    return ask


def serve_api(settings: Settings, listener: socket.socket) -> None:
    """The API, in a process of its own."""
    unlimited = settings.model_copy(update={"api_reader_limit": "1000000/second"})
    server_of(create_app(unlimited, lambda: keys_in(f"reader={KEY}"), log_requests=False)).run(sockets=[listener])


def read_over_http(settings: Settings, chosen: Sequence[int], processes: int) -> Figures:
    """The same as `read`, of the client and of one process of the API."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        server = multiprocessing.get_context("spawn").Process(target=serve_api, args=(settings, listener), daemon=True)
        server.start()
        port = listener.getsockname()[1]
        try:
            return read(settings.list_store(), settings.key_prefix, chosen, processes, str(port))
        finally:
            server.terminate()
            server.join()


def read_in_one_command(
    settings: Settings, store: redis.Redis, chosen: Sequence[int], products: int
) -> dict[tuple[int, int], Figures]:
    """The same as `read`, of the client and of the function, by hidden products and processes."""
    figures: dict[tuple[int, int], Figures] = {}
    for hidden in (0, HIDDEN):
        hide(store, settings, products, hidden)
        for processes in (1, 16):
            figures[hidden, processes] = read(settings.list_store(), settings.key_prefix, chosen, processes, "function")
    hide(store, settings, products, 0)
    return figures


def read(url: str, prefix: str, chosen: Sequence[int], processes: int, against: str = "plain") -> Figures:
    """Reads a second, and latencies, of the client and of another way, with this many processes."""
    context = multiprocessing.get_context("spawn")
    ready, begin, answers = context.Semaphore(0), context.Value("d", 0.0), context.Queue()
    started = [
        context.Process(target=reader, args=(url, prefix, chosen, seed, ready, begin, answers, against), daemon=True)
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
    figures_by_kind: Figures = {}
    for name, of_kind in (("client", phases[0::2]), ("other", phases[1::2])):
        took = np.concatenate([took for took, _ in of_kind])
        figures_by_kind[name] = {
            "rate": len(took) / len(of_kind) / PHASE,
            "p50": float(np.percentile(took, 50)) * 1000,
            "p99": float(np.percentile(took, 99)) * 1000,
            "cpu": sum(cpu for _, cpu in of_kind) / len(took) * 1e6,
        }
    # Over neighbouring phases, because other load on the machine changes.
    figures_by_kind["ratio"] = statistics.median(
        len(client[0]) / len(plain[0]) for client, plain in zip(phases[0::2], phases[1::2], strict=True)
    )
    return figures_by_kind


def roll_back(settings: Settings, store: redis.Redis, number: int) -> tuple[float, float]:
    """Seconds until readers see an earlier publication, and until the flip returns."""
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


@contextmanager
def embedded() -> Iterator[tuple[Settings, redis.Redis]]:
    """A separate embedded Redis, and a client of it."""
    folder = Path(tempfile.mkdtemp(prefix="ncf-bench-"))
    port = free_port()
    server = start_redis(folder / "redis", port=port, password="bench", log=folder / "redis.log", durable=False)
    try:
        here = Settings(redis_url=redis_url(port, password="bench"), home=folder)
        with redis.Redis.from_url(here.list_store(), decode_responses=True) as store:
            yield here, store
    finally:
        stop_redis(server)
        shutil.rmtree(folder, ignore_errors=True)


def measure(customers: int, products: int) -> Figures:
    """All figures of a shop."""
    with embedded() as (settings, store):
        url = settings.list_store()
        figures: Figures = {"redis": store.info("server")["redis_version"], "load": os.getloadavg()[0]}
        figures["first"] = publish(settings, store, customers, products)
        print(figures, file=sys.stderr, flush=True)
        figures["usage"] = memory_of_keys(store, settings, 1, customers)
        figures["second"] = publish(settings, store, customers, products)
        print(figures["second"], file=sys.stderr, flush=True)
        chosen = copy_plainly(store, settings, customers)
        figures["rollback"] = roll_back(settings, store, 1)
        figures["reads"] = {}
        few, many = 0, min(HIDDEN, products // 10)
        for hidden in (few, many):
            hide(store, settings, products, hidden)
            for processes in (1, 16):
                figures["reads"]["-", hidden, processes] = read(url, settings.key_prefix, chosen, processes)
            with while_published(settings, customers, products):
                figures["reads"]["yes", hidden, 16] = read(url, settings.key_prefix, chosen, 16)
        hide(store, settings, products, 0)
        print(figures["reads"], file=sys.stderr, flush=True)
        figures["http"] = read_over_http(settings, chosen, 16)
        figures["function"] = read_in_one_command(settings, store, chosen, products)
    return figures


def measure_size(customers: int, products: int) -> Figures:
    """Some figures of a shop: what may change with its size."""
    with embedded() as (settings, store):
        figures: Figures = {"first": publish(settings, store, customers, products)}
        publish(settings, store, customers, products)
        chosen = copy_plainly(store, settings, customers)
        figures["rollback"] = roll_back(settings, store, 1)
        hide(store, settings, products, min(HIDDEN, products // 10))
        with while_published(settings, customers, products):
            figures["reads"] = read(settings.list_store(), settings.key_prefix, chosen, 16)
    print(customers, products, figures, file=sys.stderr, flush=True)
    return figures


@contextmanager
def started(program: Path) -> Iterator[redis.Redis]:
    """A server of this program, with the setting for small hashes that docs/storefront.md advises, and a client."""
    folder = Path(tempfile.mkdtemp(prefix="ncf-bench-"))
    port = free_port()
    options = {"port": port, "bind": "127.0.0.1", "save": "", "dir": folder, "hash-max-ziplist-value": 1024}
    server = subprocess.Popen(
        [program, *(part for name, value in options.items() for part in (f"--{name}", str(value)))],
        stdout=subprocess.DEVNULL,
    )
    try:
        with redis.Redis(port=port, decode_responses=True) as store:
            while True:
                try:
                    store.ping()
                    break
                except redis.ConnectionError:
                    if server.poll() is not None:
                        raise
                    time.sleep(0.05)
            yield store
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def measure_bytes(servers: Sequence[Path], customers: int) -> Figures:
    """By server and variant, the bytes by which Redis grows for each customer, all told."""
    figures: Figures = {}
    for program in servers:
        with started(program) as store:
            info = store.info()
            name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
            name += f", {str(info['mem_allocator']).partition('-')[0]}"
            figures[name] = {}
            port = store.connection_pool.connection_kwargs["port"]
            for said, options in VARIANTS:
                # So that what it frees is not counted later.
                store.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
                asked = {"reasons": False, "spare": SPARE, **options}
                settings = Settings(redis_url=f"redis://127.0.0.1:{port}/0", **asked)
                before = store.info("memory")["used_memory"]
                made = made_up_lists(customers, BYTES_PRODUCTS, spare=asked["spare"], reasons=asked["reasons"])
                frames = (frame for audience, frame, _ in made if audience != "product")
                publication.publish(settings, frames, meta=META)
                figures[name][said] = (store.info("memory")["used_memory"] - before) / customers
            print(name, figures[name], file=sys.stderr, flush=True)
    return figures


def servers_here(others: Sequence[str]) -> list[Path]:
    """Programs of the servers that the tests know, if they are installed, and of those that were named."""
    return [Path(path) for path in (*LIST_SERVERS.values(), *others) if path is not None]


def measure_other_ways() -> Figures:
    """The figures over HTTP and in one command, in a small shop: how many customers there are does not change them."""
    with embedded() as (settings, store):
        publish(settings, store, OTHER_CUSTOMERS, OTHER_PRODUCTS)
        chosen = np.random.default_rng(3).permutation(OTHER_CUSTOMERS).tolist()
        return {
            "load": os.getloadavg()[0],
            "http": read_over_http(settings, chosen, 16),
            "function": read_in_one_command(settings, store, chosen, OTHER_PRODUCTS),
        }


def report_bytes(customers: int, by_server: Figures) -> list[str]:
    """The section about memory."""
    rows = [
        f"| {said} | {' | '.join(f'{of[said]:.0f}' for of in by_server.values())} |"
        for said in next(iter(by_server.values()))
    ]
    return [
        IN_REDIS,
        "",
        f"{date.today().isoformat()}. Bytes by which Redis grows for each of {customers:,} customers, all told: "
        "values, key, its place in the table of keys and in that of expiry times, index. With `hash-max-listpack-value "
        "1024`.",
        "",
        f"| | {' | '.join(by_server)} |",
        f"| --- |{' --- |' * len(by_server)}",
        *rows,
        "",
        "A stock code of a list takes eight to nine bytes, and its reason 15 on average; the names of three lists and "
        "the rest of a hash 37; a key 100 to 110, and its end 15 to 40. jemalloc rounds a value up to 320, 384, 448, "
        "512, 640, ... bytes. So ten places more in each of three lists cannot be had for under 400 bytes, and neither "
        "can reasons: publish the lists that pages show.",
        "",
    ]


def report_http(customers: int, f: Figures) -> list[str]:
    """The section about the API."""
    rows = [
        f"| {name} | {of['rate']:,.0f} | {of['p50']:.2f} | {of['p99']:.2f} |"
        for name, of in (("`for_customer`, from Redis", f["http"]["client"]), ("the API", f["http"]["other"]))
    ]
    return [
        OVER_HTTP,
        "",
        f"{date.today().isoformat()}, {len(os.sched_getaffinity(0))} cores, shared by Redis, one process of "
        f"`ncf-pipeline serve` without its log, and 16 client processes, each with a connection that stays open; load "
        f"average at the start {f['load']:.1f}. {customers:,} customers. Readers use Redis in even "
        "seconds and the API in odd ones. One process of the API uses one core; run several behind a proxy for more.",
        "",
        "| 16 clients read | reads a second | p50 ms | p99 ms |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
    ]


def report_one_command(f: Figures) -> list[str]:
    """The section about the function of Redis."""
    rows = [
        f"| {hidden:,} | {processes} | {name} | {of['rate']:,.0f} | {of['p50']:.2f} | {of['p99']:.2f} "
        f"| {1 / reads['ratio']:.2f} |"
        for (hidden, processes), reads in f["function"].items()
        for name, of in (("`for_customer`", reads["client"]), ("`FCALL_RO ncf_lists`", reads["other"]))
    ]
    return [
        IN_ONE_COMMAND,
        "",
        "The same in turns with [the function of Redis](storefront.md#one-command), by the same library. The client "
        "holds what is live and hidden for a second; the function asks for it each time, inside Redis, which does one "
        "thing at a time. The last column is the function's share of the client's reads.",
        "",
        "| hidden products | client processes | | reads a second | p50 ms | p99 ms | share of the client |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def report_sizes(sizes: Sequence[tuple[int, int]], figures: Sequence[Figures]) -> list[str]:
    """The section about shops of other sizes."""
    rows = []
    for (customers, products), f in zip(sizes, figures, strict=True):
        one, reads = f["first"], f["reads"]
        rows.append(
            f"| {customers:,} | {products:,} | {one['seconds']:.1f} | {one['keys'] / one['seconds']:,.0f} "
            f"| {one['per_customer']:.0f} | {one['per_product']:.0f} | {f['rollback'][0]:.2f} "
            f"| {reads['client']['rate']:,.0f} | {reads['client']['p99']:.1f} | {reads['ratio']:.2f} |"
        )
    return [
        "## By size",
        "",
        "The same in other shops. Reads are those of 16 processes while a publication is written, with up to "
        f"{HIDDEN:,} hidden products, a tenth of all at most.",
        "",
        "| customers | products | seconds to publish | keys a second | bytes a customer | bytes a product "
        "| seconds of a rollback | reads a second | p99 ms | share of the limit |",
        f"|{' --- |' * 10}",
        *rows,
        "",
    ]


def report(customers: int, products: int, f: Figures) -> list[str]:
    """The lines of docs/serving.md before the sections on memory, sizes and other ways."""
    one = f["first"]
    rows = [
        f"| {written} | {hidden:,} | {processes} | {name} | {of['rate']:,.0f} | {of['p50']:.2f} | {of['p99']:.2f} "
        f"| {of['cpu']:.0f} | {reads['ratio']:.2f} |"
        for (written, hidden, processes), reads in f["reads"].items()
        for name, of in (("`for_customer`", reads["client"]), ("plain `GET`", reads["other"]))
    ]
    seen, done = f["rollback"]
    return [
        "# The cost of publishing and reading",
        "",
        "<!-- Written by benchmarks/serving.py: run `make bench-serving` instead of editing it. -->",
        "",
        f"{date.today().isoformat()}, {len(os.sched_getaffinity(0))} cores, shared by Redis, publisher and readers; "
        f"load average at the start {f['load']:.1f}. Embedded Redis {f['redis']}, nothing kept on "
        f"disk. {customers:,} customers with three lists of {TOP_N + SPARE} each, of which "
        f"{TOP_N} are shown, without reasons, and {products:,} products with two.",
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
        f"| bytes by which Redis grows for each customer | {one['per_customer']:.0f} |",
        f"| bytes by which Redis grows for each product | {one['per_product']:.0f} |",
        f"| rollback: until readers see the previous lists | {seen:.2f} s |",
        f"| rollback: until the flip returns | {done:.1f} s |",
        "",
        "Besides the key itself, Redis needs memory for its table of expiry times, and spare room in both tables.",
        "",
        "## Reading",
        "",
        "`Storefront.for_customer(id, country=...)` against a `GET` of the same bytes by the same library with the "
        "same options. The client keeps connections for single commands, so it may be faster. All readers use one in "
        "even seconds and the other in odd seconds. The "
        "last column is the client's share of that: the median over neighbouring seconds.",
        "",
        "| a publication is written | hidden products | client processes | | reads a second | p50 ms | p99 ms "
        "| CPU of a read, µs | share of the limit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--print", action="store_true", help="print the page instead of writing it")
    parser.add_argument("--only-other-ways", action="store_true", help="measure the API and the function alone")
    parser.add_argument("--only-bytes", action="store_true", help="measure memory by settings, and renew its section")
    parser.add_argument("--bytes-customers", type=int, default=BYTES_CUSTOMERS)
    parser.add_argument("--server", action="append", default=[], help="a program of another Redis or Valkey to measure")
    options = parser.parse_args()
    path = Path(__file__).parent.parent / "docs" / "serving.md"
    servers = servers_here(options.server)
    if options.only_other_ways:
        before = path.read_text().partition(f"\n{OVER_HTTP}\n")[0].rstrip()
        others = measure_other_ways()
        lines = [before, "", *report_http(OTHER_CUSTOMERS, others), *report_one_command(others)]
    elif options.only_bytes:
        first, is_there, rest = path.read_text().partition(f"\n{IN_REDIS}\n")
        if is_there:
            after = rest[rest.index("\n## ") + 1 :]
        else:
            first, _, rest = first.partition(f"\n{OVER_HTTP}\n")
            after = f"{OVER_HTTP}\n{rest}"
        section = report_bytes(options.bytes_customers, measure_bytes(servers, options.bytes_customers))
        lines = [first.rstrip(), "", *section, after.rstrip()]
    else:
        full = (options.customers, options.products)
        sizes = [
            (full[0] // 100, full[1]),
            (full[0] // 10, full[1]),
            (full[0], full[1] // 100),
            (full[0], full[1] // 10),
        ]
        found = measure(*full)
        by_size = [measure_size(*size) for size in sizes]
        whole = {**found, "reads": found["reads"]["yes", min(HIDDEN, full[1] // 10), 16]}
        lines = [
            *report(*full, found),
            *report_bytes(options.bytes_customers, measure_bytes(servers, options.bytes_customers)),
            *report_sizes([*sizes, full], [*by_size, whole]),
            *report_http(full[0], found),
            *report_one_command(found),
        ]
    page = "\n".join(lines).rstrip() + "\n"
    if not options.print:
        path.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
