"""A rehearsal of `make check-gpu` on the CPU: real processes, one of them killed."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from shop_with_tastes import make_shop

PROGRAM = Path(__file__).parents[3] / "benchmarks" / "check_gpu.py"


@pytest.mark.trains
@pytest.mark.timeout(300)
def test_a_training_that_was_killed_ends_as_one_that_was_not_and_the_table_has_a_row_for_each(tmp_path):
    make_shop(days=150).to_parquet(tmp_path / "shop.parquet")
    command = [
        sys.executable, PROGRAM, "--device", "cpu", "--quick", "--data", tmp_path, "--seeds", "2",
        "--steps", "shop,resumed,seeds,policies", "--out", tmp_path / "table.md",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "table.md").read_text() == done.stdout
    assert "the weights are bit by bit those of one that was not killed" in done.stdout
    assert done.stdout.count("\n| shop | ") == 10  # with the head
    assert done.stdout.endswith("- Passed.\n")


@pytest.mark.slow
def test_a_shop_is_prepared_from_a_file_of_invoices(tmp_path):
    lines = "\n".join(f"{500 + n},A{n % 3},cup,2,2021-01-{n + 1:02d} 10:00:00,1.5,c{n % 2},France" for n in range(9))
    head = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    (tmp_path / "invoices.csv").write_text(f"{head}\n{lines}\n")
    command = [sys.executable, PROGRAM, "--prepare", tmp_path / "data", "--workbook", tmp_path / "invoices.csv"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shop = pd.read_parquet(tmp_path / "data" / "shop.parquet")
    assert len(shop) == 9
    assert set(shop["customer_id"]) == {"c0", "c1"}
