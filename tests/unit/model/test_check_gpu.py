"""`make check-gpu`, as far as a machine without a GPU can run it."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def check_gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("check_gpu")


@pytest.fixture
def rows(check_gpu):
    device = check_gpu.Row("shop", "backtest", "cuda", "bf16", 0, 0.21, 0.08, 12.34, 3, 0.256, 20.04, 1234.5, 5678.0)
    on_cpu = replace(device, training="backtest, the CPU's default", device="cpu", precision="fp32", device_mb=None)
    return device, replace(on_cpu, epoch_s=2.56, total_s=40.08)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_says_so_in_one_line_and_ends_with_0():
    done = subprocess.run([sys.executable, BENCHMARKS / "check_gpu.py"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == "No CUDA device on this machine: there is nothing to check. Training runs on the CPU.\n"


def test_a_row_of_the_table_has_a_cell_for_each_column(check_gpu, rows):
    line = rows[0].as_markdown()
    assert line == "| shop | backtest | cuda | bf16 | 0 | 0.2100 | 0.0800 | 12.3 | 3 | 0.26 | 20.0 | 1,234 | 5,678 |"
    assert {text.count("|") for text in (line, *check_gpu.Row.HEAD.splitlines())} == {14}
    refit = check_gpu.Row("shop", "refit", "cpu", "fp32")
    assert refit.as_markdown().count("|") == 14
    assert "None" not in refit.as_markdown()


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, 0),
        ({"for_you": 0.2129}, 0),
        ({"for_you": 0.2131}, 1),
        ({"discover": 0.0769}, 1),
        ({"for_you": float("nan")}, 1),
        ({"for_you": None, "discover": None}, 0),
        ({"for_you": 0.3, "epochs": 2}, 1),
    ],
)
def test_a_precision_must_be_that_of_the_cpu_within_a_seeds_noise(check_gpu, rows, change, missed):
    assert len(check_gpu.misses([replace(rows[0], **change), rows[1]])) == missed


def test_what_is_compared_is_the_mean_of_the_trainings_that_should_be_alike(check_gpu, rows):
    device, on_cpu = rows
    above, below = replace(device, for_you=0.214), replace(device, for_you=0.206, precision="fp32")
    assert check_gpu.misses([above, below, on_cpu]) == []
    assert check_gpu.misses([above, on_cpu]) == [
        "shop: Precision@5 of for_you is 0.2140 on the device (one seed), but 0.2100 on the CPU (one seed). They may "
        "differ by 0.0030."
    ]
    together = replace(device, training="backtest, two processes, gloo", for_you=0.206)
    assert len(check_gpu.misses([device, together, on_cpu])) == 1


def test_with_several_seeds_the_shops_own_spread_is_what_means_may_differ_by(check_gpu, rows):
    device, on_cpu = rows
    spread = (0.002, -0.002, 0.006, -0.006, 0.0)  # a variance of 2e-5: two means of five differ by up to 0.00566
    cpu = [replace(on_cpu, seed=seed, for_you=0.21 + part) for seed, part in enumerate(spread)]

    def of_device(shift):
        return [replace(device, seed=seed, for_you=0.21 + shift + part) for seed, part in enumerate(spread)]

    assert check_gpu.misses([*of_device(0.0056), *cpu]) == []
    assert check_gpu.misses([*of_device(-0.0058), *cpu]) == [
        "shop: Precision@5 of for_you is 0.2042 on the device (5 seeds), but 0.2100 on the CPU (5 seeds). They may "
        "differ by 0.0057."
    ]
    # More trainings of one seed are no more samples.
    assert check_gpu.misses([replace(device, for_you=0.2197)] * 9 + cpu) == []
    assert len(check_gpu.misses([replace(device, for_you=0.2199)] * 9 + cpu)) == 1
    # A single process's five seeds say nothing about several processes.
    together = replace(device, training="backtest, two processes, gloo", for_you=0.23)
    assert len(check_gpu.misses([*of_device(0.0), together, *cpu])) == 1


def test_a_speed_is_told_of_the_first_seed_alone(check_gpu, rows):
    others = [replace(row, seed=1) for row in rows]
    assert check_gpu.verdicts([*rows, *others]) == check_gpu.verdicts(rows)


def test_the_large_shop_is_compared_with_as_many_epochs_on_the_cpu(check_gpu, rows):
    device, on_cpu = (replace(row, shop="large") for row in rows)
    longer = replace(device, epochs=4, for_you=0.3)
    assert check_gpu.misses([longer, on_cpu]) == []
    assert check_gpu.verdicts([longer, on_cpu]) == [
        "large, backtest, bf16: an epoch is 10.0 times as fast as on the CPU."
    ]
    assert len(check_gpu.misses([replace(device, for_you=0.3), on_cpu])) == 1


def test_the_speed_is_told_as_a_ratio_to_the_cpu(check_gpu, rows):
    (told,) = check_gpu.verdicts(rows)
    assert told == (
        "shop, backtest, bf16: an epoch is 10.0 times, the whole training 2.0 times as fast as on the CPU; "
        "Precision@5 +0.0000 and +0.0000."
    )


def test_each_line_is_written_at_once_and_a_failure_is_the_last_word(check_gpu, rows, tmp_path, capsys):
    path = tmp_path / "table.md"
    page = check_gpu.Page(path, judges=True)
    page.receive({"row": vars(replace(rows[0], for_you=0.3))})
    assert path.read_text() == capsys.readouterr().out != ""
    page.receive({"row": vars(rows[1]), "note": "a note"})
    page.end()
    *_, failure, verdict = path.read_text().splitlines()
    assert (
        "FAILED: shop: Precision@5 of for_you is 0.3000 on the device (one seed), but 0.2100 on the CPU (one seed)."
        in failure
    )
    assert verdict == "- Not passed."
