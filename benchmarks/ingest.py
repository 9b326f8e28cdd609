"""Time and memory of ingest, and how they compare with reading, `COPY` and the rules alone.

    python benchmarks/ingest.py files FILE.xlsx [--rounds 3]
    python benchmarks/ingest.py files FOLDER [--each]        # all as one batch; with --each also one by one
    python benchmarks/ingest.py csv --lines 1000000 10000000
    python benchmarks/ingest.py parquet --lines 1000000
    python benchmarks/ingest.py day --stored 100000 10000000  # a day's file into shops of so many lines
    python benchmarks/ingest.py page                          # csv, parquet and day, into docs/ingest.md
    python benchmarks/ingest.py broken --lines 100000        # two batches with so many broken lines, and more good ones

Each measurement has a database of its own and a new Python process. `files` measures in turns, in the same run: a
whole ingest, as the command runs it, and the three things that no ingest can do without, one after the other and each
alone: reading the cells, copying the typed lines into Postgres, and checking the rules, with the import of the library.
The ratio of the two is what holds on any machine, and on one with other work too.

For each step: seconds on the clock, CPU seconds of Python and the workbook's process, and CPU seconds of Postgres. Then
the most memory: of Python and its children together (PSS), and of the Postgres processes without shared buffers.
"""

import argparse
import io
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import psutil
import psycopg2

from ncf_pipeline.settings import Settings

MOST_OF_BASE = 1.4
"""What a whole ingest may take, of reading, `COPY` and the rules alone."""

DAY, DAY_LINES = datetime(2026, 1, 1), 3_000
"""The day whose file is merged into shops of any size, and its lines: as many as on each day that is stored."""

BY_HAND = "\n## What grows with the shop\n"
"""The section of docs/ingest.md from which on it is written by hand."""


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and CPU seconds of Python (with its children) and of Postgres."""

    wall: float = 0.0
    python: float = 0.0
    postgres: float = 0.0

    @property
    def cpu(self) -> float:
        return self.python + self.postgres

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.python + other.python, self.postgres + other.postgres)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.wall - other.wall, self.python - other.python, self.postgres - other.postgres)

    def __str__(self) -> str:
        return f"{self.wall:7.1f} s {self.python:7.1f} s {self.postgres:7.1f} s"


@dataclass
class Measured:
    """What a run took, step by step, and the most memory it had, in bytes."""

    what: str
    steps: dict[str, Cost] = field(default_factory=dict)
    python_memory: int = 0
    postgres_memory: int = 0
    result: str = ""

    @property
    def total(self) -> Cost:
        return sum(self.steps.values(), Cost())


class Meter(threading.Thread):
    """Measures this process, its children, and the database that it started; memory four times a second."""

    def __init__(self, what: str) -> None:
        super().__init__(daemon=True)
        self.measured = Measured(what)
        self._this = psutil.Process()
        (self._postgres,) = (child for child in self._this.children() if child.name().startswith("postgres"))
        self._done = threading.Event()
        self._own_seconds = 0.0
        self._stage: tuple[str, Cost, float] | None = None

    def __enter__(self) -> "Meter":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(0.25):
            servers = [self._postgres, *_children(self._postgres)]
            others = {self._this, *_children(self._this)} - set(servers)
            python = sum(_shared_fairly(each) for each in others)
            postgres = sum(_own_memory(each) for each in servers)
            self.measured.python_memory = max(self.measured.python_memory, python)
            self.measured.postgres_memory = max(self.measured.postgres_memory, postgres)
            self._own_seconds = time.thread_time()

    def now(self) -> Cost:
        finished = resource.getrusage(resource.RUSAGE_CHILDREN)
        python = time.process_time() - self._own_seconds + finished.ru_utime + finished.ru_stime
        return Cost(0.0, python, _seconds_of_server(self._postgres))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures the block, and adds it to the step of that name."""
        before, begun = self.now(), time.perf_counter()
        yield
        self._add(name, before, begun)

    def stage(self, what: str, *_: int) -> None:
        """Begins a stage of ingest, and ends the one before."""
        name = {"checking the rules": "validate", "merging by invoice": "merge"}.get(what, "land")
        name = "quarantine" if "quarantine" in what else name
        if self._stage is None or self._stage[0] != name:
            self.end_stage()
            self._stage = (name, self.now(), time.perf_counter())

    def end_stage(self) -> None:
        """Ends the stage that runs."""
        if self._stage is not None:
            self._add(*self._stage)
        self._stage = None

    def _add(self, name: str, before: Cost, begun: float) -> None:
        wall = time.perf_counter() - begun
        time.sleep(0.1)  # the server counts a connection's seconds when its process has ended
        took = replace(self.now() - before, wall=wall)
        self.measured.steps[name] = self.measured.steps.get(name, Cost()) + took


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return list(process.children(recursive=True))
    return []


def _shared_fairly(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def _own_memory(process: psutil.Process) -> int:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) << 10
    return 0


def _seconds_of_server(postgres: psutil.Process) -> float:
    """CPU seconds of the server and all its processes, with those that have ended."""
    own = postgres.cpu_times()
    total: float = own.user + own.system + own.children_user + own.children_system
    for child in _children(postgres):
        with suppress(psutil.Error):
            times = child.cpu_times()
            total += times.user + times.system
    return total


@contextmanager
def shop() -> Iterator[Settings]:
    """A database of its own, in a temporary folder."""
    from ncf_pipeline.local import serving
    from ncf_pipeline.storage.migrations import migrate

    with (
        tempfile.TemporaryDirectory(prefix="ncf-bench-") as folder,
        serving(Settings(home=Path(folder)), list_store=False) as settings,
    ):
        migrate(settings)
        yield settings


def whole(what: str, batches: Sequence[Sequence[str]]) -> list[Measured]:
    """Loads batches one after the other, as the command `ingest` does."""
    from ncf_pipeline.ingest import stages

    results = []
    with shop() as settings:
        for paths in batches:
            with Meter(what) as meter:
                meter.measured.result = str(stages.ingest(settings, paths, meter.stage))
                meter.end_stage()
            results.append(meter.measured)
    return results


def base(what: str, paths: Sequence[str]) -> list[Measured]:
    """Reads the cells, copies the lines, and checks the rules: each alone, one after the other."""
    from ncf_pipeline.ingest import inbox, validation
    from ncf_pipeline.ingest.landing import Place, lines_as_csv
    from ncf_pipeline.ingest.readers import file_kinds
    from ncf_pipeline.storage.database import transaction
    from ncf_pipeline.storage.resources import query

    with shop() as settings, Meter(what) as meter:
        csv: list[bytes] = []
        lines = 0
        for number, path in enumerate(inbox.files_at(paths), 1):
            name = Path(path).name
            with ExitStack() as stack, meter.step("reading"):
                # Without what is decided from all cells.
                stack.enter_context(patch.object(file_kinds, "decided", lambda tables, *_, **__: list(tables)))
                file = file_kinds.open_file(Path(path), name, max_unpacked_mb=settings.max_unpacked_mb)
                for table in stack.enter_context(file).tables:
                    for _ in table.chunks():
                        pass
            with file_kinds.open_file(Path(path), name, max_unpacked_mb=settings.max_unpacked_mb) as opened:
                for sheet, table in enumerate(opened.tables, 1):
                    place = Place(1, number, 0 if table.sheet is None else sheet)
                    for text, read in lines_as_csv(table, place, lines, lambda typed: typed):
                        csv.append(text)
                        lines += read
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute("insert into raw.batch (source, sha256) values ('lines', 'lines')")
        with meter.step("COPY"), transaction(settings) as connection, connection.cursor() as cursor:
            for text in csv:
                cursor.copy_expert(query("copy_landed_lines"), io.BytesIO(text))
        with meter.step("rules"):
            validation.check_batch(settings, 1)
    # The typed lines of all files were held, which no ingest does.
    meter.measured.python_memory = 0
    return [meter.measured]


def in_new_process(measure: Callable[..., list[Measured]], *arguments: object) -> list[Measured]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def show(measured: Measured, lines: int | None = None) -> None:
    load = os.getloadavg()[0]
    print(f"\n{measured.what} (load of the machine: {load:.1f})")
    print(f"  {'':12}{'clock':>9} {'Python':>9} {'Postgres':>9}")
    for name, cost in measured.steps.items():
        print(f"  {name:<12}{cost}")
    print(f"  {'together':<12}{measured.total}; CPU {measured.total.cpu:.1f} s", end="")
    if lines is not None:
        print(f"; {lines / measured.total.wall:,.0f} lines a second, {lines / measured.total.cpu:,.0f} by CPU", end="")
    print()
    if measured.python_memory:
        print(f"  {measured.python_memory / 1e6:,.0f} MB, and Postgres {measured.postgres_memory / 1e6:,.0f} MB")
    if measured.result:
        print(f"  {measured.result}", flush=True)


def compare(what: str, paths: Sequence[str], rounds: int) -> None:
    """Measures a whole ingest and its base in turns, and prints the ratio of their medians."""
    wholes, bases = [], []
    for _ in range(rounds):
        (measured,) = in_new_process(whole, what, [paths])
        show(measured)
        wholes.append(measured.total)
        (measured,) = in_new_process(base, "reading, COPY and the rules alone", paths)
        show(measured)
        bases.append(measured.total)
    print()
    for name in ("wall", "cpu"):
        took, of = (statistics.median(getattr(cost, name) for cost in costs) for costs in (wholes, bases))
        print(
            f"{what}: {took:.1f} s {'on the clock' if name == 'wall' else 'of CPU'}, {took / of:.2f} of the {of:.1f} s "
            f"that reading, COPY and the rules alone take (at most {MOST_OF_BASE})",
            flush=True,
        )


def write_csv(path: Path, lines: int) -> None:
    """A shop's lines, four to an invoice, ten thousand invoices a day."""
    begin = datetime(2020, 1, 1)
    with path.open("w") as file:
        file.write("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n")
        for number in range(lines):
            invoice, product = number // 4, (number * 7919) % 4000
            when = begin + timedelta(seconds=invoice * 8)
            file.write(f"{500000 + invoice},{10000 + product},PRODUCT {product},{1 + number % 12},{when},2.55,")
            file.write(f"{10000 + invoice % 5000},United Kingdom\n")


def write_parquet(path: Path, lines: int) -> None:
    """The lines of `write_csv`, with numbers and dates of their own types."""
    import polars as pl

    number = pl.int_range(0, lines)
    product, invoice = (number * 7919) % 4000, number // 4
    pl.select(
        (500000 + invoice).cast(pl.String).alias("InvoiceNo"),
        (10000 + product).cast(pl.String).alias("StockCode"),
        pl.format("PRODUCT {}", product).alias("Description"),
        (1 + number % 12).alias("Quantity"),
        (pl.lit(datetime(2020, 1, 1)) + pl.duration(seconds=invoice * 8)).alias("InvoiceDate"),
        pl.lit(2.55).alias("UnitPrice"),
        (10000 + invoice % 5000).alias("CustomerID"),
        pl.lit("United Kingdom").alias("Country"),
    ).write_parquet(path)


def write_day(path: Path, price: float, *, all_lines: bool = True) -> None:
    """A day's lines; without every tenth if not `all_lines`."""
    with path.open("w") as file:
        file.write("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n")
        for number in range(DAY_LINES):
            if all_lines or number % 10:
                invoice, product = number // 4, (number * 7919) % 4000
                when = DAY + timedelta(seconds=invoice * 100)
                file.write(f"{100000 + invoice},{10000 + product},PRODUCT {product},{1 + number % 12},{when},")
                file.write(f"{price},{10000 + invoice},United Kingdom\n")


STORED = """
insert into raw.batch (source, sha256, status, lines_read, lines_merged, finished_at)
values ('made up', '-', 'merged', %(lines)s, %(lines)s, now());
insert into retail.invoice_line
select
    (1000000 + number / 4)::text, (1 + number %% 4)::integer, (10000 + number * 7919 %% 4000)::text,
    'PRODUCT ' || number * 7919 %% 4000, 1 + number %% 12,
    %(day)s - interval '1 hour' - (%(lines)s - number) / 4 * interval '115 seconds', 2.55,
    (10000 + number / 4 * 31 %% greatest(1000, %(lines)s / 10))::text, 'United Kingdom', 1
from generate_series(0, %(lines)s::bigint - 1) as number;
insert into retail.invoice
select invoice_no, 4, retail.invoice_sha256(invoice_no), 1 from retail.invoice_line where line_number = 1;
insert into retail.product
select stock_code, min(description), max(invoice_date) from retail.invoice_line group by stock_code;
select retail.summarise_new_lines();
"""
"""A shop that ends before `DAY`: 3,000 lines a day, four to an invoice. The newest line of a product describes it."""


def day(stored: int) -> list[Measured]:
    """Ingests a day's file into a shop of so many lines, then the same with other prices, then without some lines."""
    from ncf_pipeline.ingest import stages
    from ncf_pipeline.quality.suites import import_library
    from ncf_pipeline.storage.database import transaction

    import_library()
    results = []
    with shop() as settings, tempfile.TemporaryDirectory(prefix="ncf-bench-") as folder:
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute(STORED, {"lines": stored, "day": DAY})
        with closing(psycopg2.connect(settings.database())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("vacuum (analyze) retail.invoice_line, retail.invoice, retail.product")  # as autovacuum does
        for what, price, all_lines in (
            ("a new day", 2.55, True),
            ("the same invoices, with other prices", 2.56, True),
            ("the same invoices, without every tenth line", 2.57, False),
        ):
            write_day(Path(folder) / "day.csv", price, all_lines=all_lines)
            with Meter(what) as meter:
                meter.measured.result = str(stages.ingest(settings, [str(Path(folder) / "day.csv")], meter.stage))
                meter.end_stage()
            results.append(meter.measured)
    return results


def write_broken(path: Path, lines: int, batch: int) -> None:
    """So many broken lines of all kinds, and more good ones; the second batch brings the same invoices again."""
    with path.open("w") as file:
        file.write("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n")
        for number in range(lines):
            invoice = 500000 + number // 4
            line = f"{invoice},{10000 + number % 4000},PRODUCT,QUANTITY,2020-01-01 08:00:00,2.5{batch},17850,France\n"
            stray = f'{invoice},"{number},6,6,2020-01-01 08:00:00,2.5{batch},17850,France\n'
            file.write((line.replace("QUANTITY", "six"), line.replace("QUANTITY", "0"), f",{line}", stray)[number % 4])
            file.write(line.replace("QUANTITY", "6") * 2)


def measure_made(kind: str, lines: int, folder: Path) -> tuple[str, Measured]:
    """Ingests a file of so many made-up lines; returns what it was, and what it took."""
    file = folder / f"lines.{kind}"
    (write_csv if kind == "csv" else write_parquet)(file, lines)
    what = f"{lines:,} lines of {'CSV' if kind == 'csv' else 'Parquet'}, {file.stat().st_size / 1e6:,.0f} MB"
    (measured,) = in_new_process(whole, what, [[str(file)]])
    file.unlink()
    show(measured, lines)
    return what, measured


def write_page(path: Path, made: Sequence[tuple[str, int]], stored: Sequence[int], folder: Path) -> None:
    """Measures all of docs/ingest.md, and writes it."""
    steps = ("land", "validate", "quarantine", "merge")
    text = [
        "# How long ingest takes",
        "",
        "<!-- Written by benchmarks/ingest.py: run `make bench-ingest` instead of editing it, up to "
        f'"{BY_HAND[4:-1]}". -->',
        "",
        f"{date.today()}, {os.cpu_count()} cores, the embedded Postgres. Seconds are wall clock, with the CPU seconds "
        "of Python and Postgres behind them: if these differ much, other jobs used the cores. The load is that of the "
        "machine at the end. Memory is that of Python and its children, and of Postgres without shared buffers.",
        "",
        "## A first load",
        "",
        "| file | land s (CPU) | validate | quarantine | merge | together | lines a second | by CPU | MB | load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, lines in made:
        what, measured = measure_made(kind, lines, folder)
        cells = [f"{measured.steps[step].wall:.1f} ({measured.steps[step].cpu:.1f})" for step in steps]
        total = measured.total
        text.append(
            f"| {what} | {' | '.join(cells)} | {total.wall:.1f} ({total.cpu:.1f}) | {lines / total.wall:,.0f} | "
            f"{lines / total.cpu:,.0f} | {measured.python_memory / 1e6:,.0f} + {measured.postgres_memory / 1e6:,.0f} | "
            f"{os.getloadavg()[0]:.1f} |"
        )
    text += [
        "",
        "`by CPU` is what one core would do alone. Landing has the import of the rules' library beside it, about two "
        "seconds.",
        "",
        "## A day's file",
        "",
        f"{DAY_LINES:,} lines, into shops of any size. Postgres has its share of the CPU seconds.",
        "",
        "| stored lines | file | land s | validate s | quarantine s | merge s | together s | CPU s | Postgres | load |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for lines in stored:
        for measured in in_new_process(day, lines):
            show(measured)
            cells = [f"{measured.steps[step].wall:.1f}" for step in steps]
            total = measured.total
            text.append(
                f"| {lines:,} | {measured.what} | {' | '.join(cells)} | {total.wall:.1f} | {total.cpu:.1f} | "
                f"{total.postgres:.1f} | {os.getloadavg()[0]:.1f} |"
            )
    _, begins, by_hand = (path.read_text() if path.exists() else "").partition(BY_HAND)
    path.write_text("\n".join(text) + f"\n{begins}{by_hand}")
    print(f"Wrote {path}.", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    files = commands.add_parser("files")
    files.add_argument("path", type=Path)
    files.add_argument("--rounds", type=int, default=3)
    files.add_argument("--each", action="store_true", help="the files of a folder also one by one")
    for kind in ("csv", "parquet"):
        commands.add_parser(kind).add_argument("--lines", type=int, nargs="+", default=[1_000_000])
    commands.add_parser("day").add_argument("--stored", type=int, nargs="+", default=[100_000, 1_000_000])
    page = commands.add_parser("page")
    page.add_argument("--csv", type=int, nargs="*", default=[1_000_000, 10_000_000], metavar="LINES")
    page.add_argument("--parquet", type=int, nargs="*", default=[1_000_000, 10_000_000], metavar="LINES")
    page.add_argument("--stored", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000], metavar="LINES")
    page.add_argument("--write", type=Path, default=Path(__file__).parent.parent / "docs" / "ingest.md")
    commands.add_parser("broken").add_argument("--lines", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ncf-bench-") as folder:
        if options.command == "files":
            compare(options.path.name, [str(options.path)], options.rounds)
            if options.each:
                each = [[str(path)] for path in sorted(options.path.iterdir())]
                took = [measured.total.wall for measured in in_new_process(whole, "one file", each)]
                print(f"{len(took)} files one by one: {sum(took):.0f} s, at most {max(took):.1f} s for one")
        elif options.command in ("csv", "parquet"):
            for lines in options.lines:
                measure_made(options.command, lines, Path(folder))
        elif options.command == "day":
            for lines in options.stored:
                print(f"\n{lines:,} lines are stored")
                for measured in in_new_process(day, lines):
                    show(measured)
        elif options.command == "page":
            made = [*(("csv", lines) for lines in options.csv), *(("parquet", lines) for lines in options.parquet)]
            write_page(options.write, made, options.stored, Path(folder))
        else:
            written = [Path(folder) / f"{batch}.csv" for batch in (1, 2)]
            for batch, file in enumerate(written, 1):
                write_broken(file, options.lines, batch)
            what = f"a batch with {options.lines:,} broken lines"
            for measured in in_new_process(whole, what, [[str(file)] for file in written]):
                show(measured)


if __name__ == "__main__":
    main()
