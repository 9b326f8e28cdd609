"""How long each page of the Recommender takes in a large shop: `python benchmarks/pages.py --customers 1000000`.

The shop is made by SQL and by publishing made-up lists to an embedded Redis; nothing is trained. It has a year of
invoices, `--lines` to a customer, 5,000 products, `--versions` of the model with as many publications, a thousand
rules, and 20,000 lines in quarantine. Each page is asked in turns through the application in this process, with other
customers and products each time. Printed are the first answer, which may fill what a process keeps, then p50 and p95 of
the others, and the bytes of a page.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving import made_up_lists

from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.serving import publication, sales
from ncf_pipeline.serving.hiding import hide
from ncf_pipeline.serving.rules import changes, previews
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import Rule
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.training.decision import thresholds

PRODUCTS, RULES, BROKEN, BATCHES = 5_000, 1_000, 20_000, 400
BEGIN, END = datetime(2010, 12, 9), datetime(2011, 12, 9)

LINES = """
insert into raw.batch (source, sha256, status, lines_read, lines_merged, lines_quarantined, created_at, finished_at)
select 'day ' || number, number::text, 'merged', 3000, 2950, 50,
    now() - interval '1 day' * (%(batches)s - number), now() - interval '1 day' * (%(batches)s - number)
from generate_series(1, %(batches)s) as number;
insert into retail.invoice_line
select
    (1000000 + number / 4)::text, (1 + number %% 4)::integer, code, 'PRODUCT ' || code,
    1 + number %% 12, %(begin)s + interval '365 days' * (number::double precision / %(lines)s), 2.55, customer,
    case when customer::bigint %% 10 < 8 then 'United Kingdom' else 'Country ' || customer::bigint %% 40 end, 1
from (
    select
        number,
        (10000 + (number * 7919 + number / 13) %% %(products)s)::text as code,
        (1 + number / 4 * 31 %% (%(customers)s - 1))::text as customer
    from generate_series(0, %(lines)s::bigint - 1) as number
) as line;
insert into retail.product
select (10000 + number)::text, 'PRODUCT ' || 10000 + number, now() from generate_series(0, %(products)s - 1) as number;
insert into raw.quarantined_line (
    batch_id, line_number, file_number, sheet_number, row_number, invoice_no, original, rule_ids
)
select 1 + number %% %(batches)s, number, 1, 0, number, number::text,
    jsonb_build_object('invoice_no', number::text, 'quantity', '0', 'customer_id', '17850'),
    array['quantity_is_not_zero']
from generate_series(1, %(broken)s) as number;
insert into raw.batch_file (batch_id, file_number, name, location, sha256, bytes)
select number, 1, number || '.csv', number || '.csv', number::text, 1 from generate_series(1, %(batches)s) as number;
"""


def fill(settings: Settings, customers: int, lines: int, versions: int) -> None:
    """Makes the shop."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        sizes = {"batches": BATCHES, "products": PRODUCTS, "customers": customers, "broken": BROKEN}
        cursor.execute(LINES, {**sizes, "lines": customers * lines, "begin": BEGIN})
    with closing(psycopg2.connect(settings.database())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("vacuum (analyze) retail.invoice_line, retail.product, raw.quarantined_line")
    told("lines")
    url = _versions(settings, customers, versions)
    told("versions")
    _publish(settings, customers, versions, url)
    sales.keep(settings)
    told("lists")
    put = [Rule("hidden" if number % 2 else "out of stock", str(10_000 + number)) for number in range(RULES)]
    for begin in range(0, RULES, 10):
        changes.apply(settings, Change(put=tuple(put[begin : begin + 10])), actor="anna", reason="a rule")
    hide(settings, [str(11_500 + number) for number in range(300)], actor="anna", country="United Kingdom")
    previews.ask(settings, Change(put=(Rule("hidden", "12000"),)), asked_by="anna", reason=None, seen=2**31)
    told("rules")


def _versions(settings: Settings, customers: int, versions: int) -> str:
    """One version a week, each of which has served; returns where the lists of the last one are to be."""
    for number in range(1, versions + 1):
        cutoff = END - timedelta(days=versions - number)
        version = registry.open_version(
            settings, run_key=f"run {number}", snapshot_id=f"s{number:06d}", cutoff=cutoff,
            holdout_start=cutoff - timedelta(days=28), config={"seed": number, "dim": 64}, requested_by="scheduled",
        )  # fmt: skip
        registry.record_evaluation(settings, version, list(_scores(number)))
        decision = GateDecision(True, ("It beats the best baseline.",), thresholds(settings), ())
        registry.record_decision(settings, version, decision, details={})
        registry.record_artifact(settings, version, f"memory://v{version}")
        registry.promote(settings, version, actor="scheduled", reason="the gate let it through")
        url = f"{settings.artifacts}/lists-{number}.parquet"
        at = datetime.now(UTC) - timedelta(days=versions - number)
        entry = Publication(number, version, cutoff, url, customers, PRODUCTS, at)
        registry.open_publication(settings, entry)
        registry.record_publication(settings, entry)
    return url


def _scores(number: int) -> Iterator[Scores]:
    for question, level in (("for_you", 0.31), ("discover", 0.11)):
        for cohort in ("everyone", "newcomers", "regulars"):
            for name in ("candidate", "recent_best_sellers", "personal_frequency", "incumbent"):
                mean = level * (1 if name == "candidate" else 0.8) + number % 7 / 1000
                ahead = None if name == "candidate" else 0.05
                yield Scores(name, question, cohort, 5, 1500, mean, mean - 0.015, mean + 0.015, ahead, ahead, ahead,
                             0.12, 0.34, 0.2, 1.0, 0.05)  # fmt: skip


def _publish(settings: Settings, customers: int, number: int, url: str) -> None:
    """Publishes lists to Redis, and writes them into the file of the publication."""
    path = Path(url.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    writers: list[pq.ParquetWriter] = []

    def lists() -> Iterator[pd.DataFrame]:
        for _, frame, _ in made_up_lists(customers, PRODUCTS):
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if not writers:
                writers.append(pq.ParquetWriter(path, table.schema))
            writers[0].write_table(table)
            yield frame

    meta = {"model_version": f"v{number}", "cutoff": END.isoformat(), "top_n": 10}
    publication.publish(settings, lists(), number=number, meta=meta)
    writers[0].close()


def told(done: str) -> None:
    """Says how far the making of the shop is."""
    print(f"{time.strftime('%H:%M:%S')} {done} are there", flush=True)


def measured(settings: Settings, customers: int, versions: int, times: int) -> bool:
    """Asks every page, prints how long it takes, and returns whether each answered with 200."""
    app = FastAPI()
    app.mount("/recommender", create_app(lambda: settings))
    client = TestClient(app, base_url="http://localhost/recommender/", headers={"accept": "text/html"})

    def customer(turn: int) -> str:
        return str(1 + turn * 7919 % (customers - 1))

    def product(turn: int) -> str:
        return str(10_000 + turn * 7919 % PRODUCTS)

    pages: dict[str, Callable[[int], Any]] = {
        "overview": lambda _: client.get(""),
        "products": lambda turn: client.get("products", params={"after": product(turn)}),
        "products?find=": lambda turn: client.get("products", params={"find": f"product {turn}"}),
        "product": lambda turn: client.get("products", params={"product": product(turn)}),
        "customers": lambda _: client.get("customer"),
        "customer": lambda turn: client.post("customer", data={"number": customer(turn)}),
        "why": lambda turn: client.post("products-why", data={"number": customer(turn), "product": product(turn)}),
        "rules": lambda turn: client.get("rules", params={"after": str(10_000 + turn * 17)}),
        "rules of a product": lambda turn: client.get("rules", params={"product": product(turn)}),
        "preview": lambda _: client.get("rules-preview-1"),
        "quarantine": lambda turn: client.get("quarantine", params={"rule": "quantity_is_not_zero", "after": turn}),
        "line in quarantine": lambda turn: client.get(f"quarantine-line-{1 + turn}"),
        "versions": lambda turn: client.get("versions", params={"a": 1 + turn % versions, "b": versions}),
        "experiments": lambda _: client.get("experiments"),
        "bundles": lambda _: client.get("bundles"),
        "trends": lambda _: client.get("trends"),
        "now": lambda _: client.get("now"),
    }
    taken: dict[str, list[float]] = {name: [] for name in pages}
    size, good = {}, True
    for turn in range(times + 1):
        for name, ask in pages.items():
            begun = time.perf_counter()
            answer = ask(turn)
            taken[name].append(1000 * (time.perf_counter() - begun))
            size[name] = len(answer.content)
            if answer.status_code != 200:
                good = False
                print(f"{name}: {answer.status_code}: {answer.text[:300]}")
    print(f"{'page':24} {'first ms':>9} {'p50 ms':>8} {'p95 ms':>8} {'kB':>7}")
    for name, (first, *others) in taken.items():
        p95 = sorted(others)[math.ceil(0.95 * len(others)) - 1]
        print(f"{name:24} {first:9.0f} {statistics.median(others):8.0f} {p95:8.0f} {size[name] / 1000:7.1f}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=10, help="invoice lines of a customer (10)")
    parser.add_argument("--versions", type=int, default=200, help="of the model, each with a publication (200)")
    parser.add_argument("--times", type=int, default=50, help="how often each page is asked after the first time (50)")
    asked = parser.parse_args()
    from ncf_pipeline.local import serving
    from ncf_pipeline.storage.migrations import migrate

    with (
        tempfile.TemporaryDirectory(prefix="ncf-bench-") as folder,
        serving(Settings(home=Path(folder))) as settings,
    ):
        migrate(settings)
        print(f"{asked.customers:,} customers with {asked.lines} lines, {asked.versions} versions")
        fill(settings, asked.customers, asked.lines, asked.versions)
        return 0 if measured(settings, asked.customers, asked.versions, asked.times) else 1


if __name__ == "__main__":
    raise SystemExit(main())
