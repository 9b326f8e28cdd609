"""Time and memory of ingest: `python benchmarks/ingest.py workbook FILE.xlsx`, `days FOLDER`, `csv --lines 1000000`, or
`broken --lines 100000`: two batches with so many broken lines, and more good ones.

Each starts a database of its own, loads through the stages that the DAG runs, and prints the seconds of each stage and
the most memory that this process and its children had at once (PSS: their own pages, and their share of common ones),
without the database.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import psutil

from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.local import serving
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.migrations import migrate


class Memory(threading.Thread):
    """Measures the memory of this process and its children, ten times a second."""

    def __init__(self, but: Collection[int] = ()) -> None:
        super().__init__(daemon=True)
        self.but, self.peak, self.done = set(but), 0, threading.Event()

    def run(self) -> None:
        this = psutil.Process()
        while not self.done.wait(0.1):
            total = 0
            for process in (this, *this.children(recursive=True)):
                with suppress(psutil.Error):
                    if not any(pid in self.but for pid in (process.pid, process.ppid())):
                        total += process.memory_full_info().pss
            self.peak = max(self.peak, total)


@contextmanager
def shop() -> Iterator[Settings]:
    """A database of its own, in a temporary folder."""
    with (
        tempfile.TemporaryDirectory(prefix="ncf-bench-") as folder,
        serving(Settings(home=Path(folder)), list_store=False) as settings,
    ):
        migrate(settings)
        yield settings


def load(settings: Settings, paths: Sequence[str], what: str) -> float:
    servers = [process.pid for process in psutil.Process().children()]
    memory = Memory(servers)
    memory.start()
    seconds: dict[str, float] = {}
    begun = time.perf_counter()

    def ended(stage: str) -> None:
        seconds[stage] = time.perf_counter() - begun - sum(seconds.values())

    batch_id = ingest.land(settings, ingest.discover(settings, paths))
    ended("land")
    ingest.validate(settings, batch_id)
    ended("validate")
    ingest.quarantine(settings, batch_id)
    ended("quarantine")
    result = ingest.merge(settings, batch_id)
    ended("merge")
    memory.done.set()
    memory.join()
    stages = " ".join(f"{stage} {took:.1f}" for stage, took in seconds.items())
    print(f"{what}: {sum(seconds.values()):.1f} s ({stages}), {memory.peak / 1e6:.0f} MB; {result}", flush=True)
    return sum(seconds.values())


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("workbook").add_argument("file")
    commands.add_parser("days").add_argument("folder", type=Path)
    commands.add_parser("csv").add_argument("--lines", type=int, default=1_000_000)
    commands.add_parser("broken").add_argument("--lines", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ncf-bench-") as folder:
        file = Path(folder) / "lines.csv"
        if options.command == "csv":
            write_csv(file, options.lines)
            with shop() as settings:
                load(settings, [str(file)], f"{options.lines:,} lines, {file.stat().st_size / 1e6:.0f} MB")
        elif options.command == "broken":
            with shop() as settings:
                for batch in (1, 2):
                    write_broken(file, options.lines, batch)
                    load(settings, [str(file)], f"batch {batch} with {options.lines:,} broken lines")
        elif options.command == "workbook":
            for what in ("workbook, in a new process", "workbook, when all is imported"):
                with shop() as settings:
                    load(settings, [options.file], what)
        else:
            with shop() as settings:
                load(settings, [str(options.folder)], "all days as one batch, in a new process")
            with shop() as settings:
                days = sorted(options.folder.iterdir())
                took = [load(settings, [str(day)], day.name) for day in days]
            print(f"{len(days)} days one by one: {sum(took):.0f} s, at most {max(took):.1f} s for one")


if __name__ == "__main__":
    main()
