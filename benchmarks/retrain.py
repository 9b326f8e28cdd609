"""Time and memory of a whole retrain: `python benchmarks/retrain.py --shop 2500,70000,1500000`.

The shop is that of `benchmarks/scale.py`: customers, products, lines. It is ingested into a Postgres of its own, then
retrained as `ncf-pipeline retrain` does, from the snapshot to the lists that are live in Redis. Printed are seconds on
the clock, CPU seconds and the peak memory of this process for each stage. The gate's decision is printed and then set
aside, so that all stages are measured whatever it is: in a made-up shop, counting may be as good as a model.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from scale import Size, _peak_mb, _reset_peak, make_interactions

STAGES = (
    "snapshot",
    "live_performance",
    "backtest",
    "gate",
    "refit",
    "register",
    "prepare",
    "score_shards",
    "publish",
)


def write_invoices(size: Size, path: Path) -> None:
    """Writes the shop's lines as a Parquet file of invoices."""
    table = make_interactions(*size)
    table["InvoiceNo"] = table["invoice_no"]
    table.rename(
        columns={
            "stock_code": "StockCode",
            "description": "Description",
            "quantity": "Quantity",
            "purchased_at": "InvoiceDate",
            "unit_price": "UnitPrice",
            "customer_id": "CustomerID",
            "country": "Country",
        }
    ).drop(columns=["invoice_no", "returned_at"]).to_parquet(path, index=False)


def timed(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
    """The stage, which prints what it took."""

    @wraps(stage)
    def measured(*arguments: Any, **options: Any) -> Any:
        _reset_peak()
        wall, before = time.perf_counter(), os.times()
        result = stage(*arguments, **options)
        took, after = time.perf_counter() - wall, os.times()
        cpu = sum(after[:4]) - sum(before[:4])
        print(f"| {name} | {took:.1f} | {cpu:.1f} | {_peak_mb():,} |", flush=True)
        return result

    return measured


def let_through(decide: Callable[..., Any]) -> Callable[..., Any]:
    """The gate's `decide`, which prints what it holds and lets it through."""

    @wraps(decide)
    def decided(*arguments: Any, **options: Any) -> Any:
        decision = decide(*arguments, **options)
        if not decision.promote:
            print("The gate would hold it:", *decision.reasons, sep="\n  ")
        return replace(decision, promote=True)

    return decided


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shop", default="2500,70000,1500000", metavar="CUSTOMERS,PRODUCTS,LINES")
    customers, products, lines = (int(part) for part in parser.parse_args().shop.split(","))

    from ncf_pipeline.evaluation.gate import decide
    from ncf_pipeline.ingest import stages as ingest
    from ncf_pipeline.local.services import serving
    from ncf_pipeline.settings import Settings
    from ncf_pipeline.training import retrain

    with (
        tempfile.TemporaryDirectory(prefix="ncf-bench-") as home,
        serving(Settings(home=Path(home), approval=False)) as settings,
        ExitStack() as stack,
    ):
        file = Path(home) / "lines.parquet"
        write_invoices((customers, products, lines), file)
        print("| stage | s | CPU s of Python | peak MB |\n| --- | --: | --: | --: |")
        timed("ingest", ingest.ingest)(settings, [str(file)])
        for name in STAGES:
            stack.enter_context(patch.object(retrain, name, timed(name, getattr(retrain, name))))
        stack.enter_context(patch("ncf_pipeline.training.decision.decide", let_through(decide)))
        outcome = timed("all of the retrain", retrain.run)(settings, run_key="benchmark", requested_by="benchmark")
        print(f"{'held' if outcome.publication is None else 'live'}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
