"""Time and memory of a snapshot: `python benchmarks/snapshot.py --lines 2000000 50000000`.

Each shop has a database of its own and a new Python process. It has a customer for each 50 lines, 100,000 products at
most, four lines to an invoice, and gets every fiftieth line back two weeks later. Printed are seconds on the clock, CPU
seconds of Python and of Postgres, and the most memory of each, as `benchmarks/ingest.py` measures them; the same for
the rules on the snapshot, in a process of their own; then how long Postgres alone takes to answer the query of the
snapshot and to throw the answer away.
"""

import argparse
import resource
import time
from contextlib import closing
from datetime import datetime

import psycopg2
from ingest import Cost, Measured, Meter, in_new_process, shop, show

from ncf_pipeline.settings import Settings

LINES = """
insert into raw.batch (source, sha256, status, lines_read, lines_merged, finished_at)
values ('made up', '-', 'merged', %(lines)s, %(lines)s, now());
insert into retail.invoice_line
select
    case when number %% 50 = 49 then 'C' else '' end || (1000000 + number / 4),
    (1 + number %% 4)::integer, code, 'PRODUCT ' || code,
    case when number %% 50 = 49 then -1 else 1 + number %% 12 end,
    %(begin)s
    + interval '360 days' * (number::double precision / %(lines)s)
    + case when number %% 50 = 49 then interval '14 days' else interval '0' end,
    2.55, customer, 'United Kingdom', 1
from (
    select
        number,
        (10000 + bought / 4 * 7919 %% least(100000, %(lines)s / 20) + bought %% 4)::text as code,
        (10000 + bought / 4 * 31 %% greatest(1000, %(lines)s / 50))::text as customer
    from (
        -- what comes back is the line before
        select number, case when number %% 50 = 49 then number - 1 else number end as bought
        from generate_series(0, %(lines)s::bigint - 1) as number
    ) as numbered
) as line;
insert into retail.product
select stock_code, min(description), max(invoice_date) from retail.invoice_line group by stock_code;
"""


def snapshot(lines: int) -> list[Measured]:
    """Takes a snapshot of a shop with so many lines."""
    from ncf_pipeline.registry.snapshots import newest_cutoff, take_snapshot
    from ncf_pipeline.storage.database import transaction
    from ncf_pipeline.storage.resources import query

    with shop() as settings:
        begun = time.perf_counter()
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute(LINES, {"lines": lines, "begin": datetime(2020, 1, 1)})
        with closing(psycopg2.connect(settings.database())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("vacuum (analyze) retail.invoice_line, retail.product")  # as autovacuum does
        print(f"{lines:,} lines were stored in {time.perf_counter() - begun:.0f} s", flush=True)
        with Meter(f"a snapshot of {lines:,} lines") as meter, meter.step("snapshot"):
            meter.measured.result = take_snapshot(settings)
        rules = in_new_process(checked, settings, meter.measured.result)
        cutoff = newest_cutoff(settings)
        explain = "explain (analyze, timing off) " + query("interactions")
        with Meter("the query alone, without an answer") as alone, alone.step("query"):
            alone.measured.result = _execution_time(settings, explain, cutoff)
        return [meter.measured, *rules, alone.measured]


def checked(settings: Settings, snapshot_id: str) -> list[Measured]:
    """Checks the rules on a snapshot, as a retrain does."""
    from ncf_pipeline.privacy import kept_out
    from ncf_pipeline.quality.snapshots import check_snapshot
    from ncf_pipeline.registry.snapshots import open_snapshot

    begun, before = time.perf_counter(), time.process_time()
    with kept_out(settings):
        report = check_snapshot(settings, open_snapshot(settings, snapshot_id))
    cost = Cost(time.perf_counter() - begun, time.process_time() - before)
    broken = ", ".join(f"{rule.rule_id} {rule.rows:,}" for rule in report.broken) or "none"
    return [
        Measured(
            "its rules",
            {"rules": cost},
            python_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            result=f"{report.rules} rules on {report.lines:,} lines; broken: {broken}",
        )
    ]


def _execution_time(settings: Settings, explain: str, cutoff: datetime) -> str:
    """Postgres' own time, in the last row of what it explains."""
    from ncf_pipeline.storage.database import transaction

    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(explain, {"cutoff": cutoff})
        return str(cursor.fetchall()[-1][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[2_000_000])
    for lines in parser.parse_args().lines:
        for measured in in_new_process(snapshot, lines):
            show(measured, lines)


if __name__ == "__main__":
    main()
