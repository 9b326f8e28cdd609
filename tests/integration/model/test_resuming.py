"""Training that is stopped or killed, and continues as if it had not been."""

import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from shop_with_tastes import CUTOFF

from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.training import train
from ncf_pipeline.training.checkpoints import CheckpointFile

pytestmark = pytest.mark.trains


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def slow_recipe(recipe):
    """It learns so slowly that more than one epoch pays, on every processor."""
    return replace(recipe, max_epochs=4, learning_rate=1e-4)


@pytest.fixture(scope="module")
def whole(shop, slow_recipe):
    """A training that nothing disturbed."""
    return train(shop, CUTOFF, slow_recipe, device="cpu")


def stages_of(model):
    return [report.stage for report in model.history]


def epochs_until(stages, killed_in):
    """After how many epochs each kill comes.

    After the first epoch of the search, after its last one, or after the first of the training anew. How many are
    chosen differs from processor to processor; at least two are tried, and one is trained.
    """
    done = 0
    for stage in killed_in:
        done = {"select": stages.count("select") if done else 1, "fit": stages.count("select") + 1}[stage]
        yield done


def assert_the_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stopped_in", [["select"], ["select", "select"], ["select", "fit"]], ids=", then ".join)
def test_a_stopped_training_continues_and_ends_bit_by_bit_as_one_that_was_not(
    shop, slow_recipe, whole, tmp_path, stopped_in
):
    checkpoints, stages, done = CheckpointFile(tmp_path, "key"), stages_of(whole), 0
    for until in epochs_until(stages, stopped_in):
        seen = []

        def stop(report, seen=seen, after=until - done):
            seen.append(report.stage)
            if len(seen) == after:
                raise StoppedError

        with pytest.raises(StoppedError):
            train(shop, CUTOFF, slow_recipe, device="cpu", on_epoch=stop, checkpoints=checkpoints)
        assert seen == stages[done:until]
        assert [path.name for path in tmp_path.iterdir()] == ["key.safetensors"]
        done = until
    seen = []
    resumed = train(
        shop,
        CUTOFF,
        slow_recipe,
        device="cpu",
        on_epoch=lambda report: seen.append(report.stage),
        checkpoints=checkpoints,
    )
    assert seen == stages[done:]
    assert stages_of(resumed) == stages
    assert_the_same(resumed.state().tensors, whole.state().tensors)


PROGRAM = """
import sys, time
from datetime import datetime
from pathlib import Path
import pandas as pd
from safetensors.torch import save_file
from ncf_pipeline.training.checkpoints import CheckpointFile
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train

folder, stop_after = Path(sys.argv[1]), int(sys.argv[2])
recipe = Recipe(**eval(sys.argv[3]))
seen = []
def on_epoch(report):
    seen.append(report.stage)
    print("epoch", report.stage, report.epoch, flush=True)
    if len(seen) == stop_after:
        time.sleep(60)  # to be killed in
model = train(pd.read_parquet(folder / "shop.parquet"), datetime(2021, 6, 3), recipe, device="cpu",
              on_epoch=on_epoch, checkpoints=CheckpointFile(folder / "checkpoints", "key"))
save_file(model.state().tensors, folder / "model.safetensors")
print("trained", *seen, "of", *(report.stage for report in model.history), flush=True)
"""


def test_a_killed_process_leaves_what_the_next_one_continues(shop, slow_recipe, whole, tmp_path):
    shop.to_parquet(tmp_path / "shop.parquet")

    def start(stop_after=0):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(stop_after), repr(vars(slow_recipe))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    stages, done = stages_of(whole), 0
    for until in epochs_until(stages, ["select", "fit"]):
        process = start(stop_after=until - done)
        for _ in range(until - done):
            assert process.stdout.readline().startswith("epoch")
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["key.safetensors"]
        done = until
    output, _ = start().communicate()
    assert output.splitlines()[-1] == " ".join(["trained", *stages[done:], "of", *stages])
    assert_the_same(load_file(tmp_path / "model.safetensors"), whole.state().tensors)


class Memory:
    """Keeps what is saved, in order."""

    def __init__(self, earlier=None):
        self.saved, self.earlier = [], earlier

    def load(self):
        return self.earlier

    def save(self, progress):
        self.saved.append(progress)


def test_after_the_last_epoch_nothing_is_trained_again(shop, recipe, model):
    memory, seen = Memory(), []
    train(shop, CUTOFF, recipe, device="cpu", checkpoints=memory)
    assert len(memory.saved) == len(model.history)
    again = train(shop, CUTOFF, recipe, device="cpu", checkpoints=Memory(memory.saved[-1]), on_epoch=seen.append)
    assert seen == []
    assert customer_lists(again, shop, CUTOFF, 5).equals(customer_lists(model, shop, CUTOFF, 5))
