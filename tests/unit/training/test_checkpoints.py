"""Training that was killed continues, and ends as if it had not been killed."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from safetensors.torch import load_file
from shop_with_tastes import CUTOFF

from ncf_pipeline.model.device import place
from ncf_pipeline.model.fitting import Progress
from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.training import train
from ncf_pipeline.training.checkpoints import KEPT_DAYS, CheckpointFile, checkpoint_key

PROGRAM = """
import sys, time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
import pandas as pd
from safetensors.torch import save_file
from ncf_pipeline.training.checkpoints import CheckpointFile
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train

folder, stop_after = Path(sys.argv[1]), int(sys.argv[2])
recipe = Recipe(max_epochs=4, learning_rate=1e-4, embedding_dim=8, hidden=(16, 8), popular_candidates=15,
                taste_candidates=5)
checkpoints = CheckpointFile(folder / "checkpoints", "key")
seen = []
def on_epoch(report):
    seen.append(report.stage)
    print("epoch", report.stage, report.epoch, flush=True)
    if len(seen) == stop_after:
        time.sleep(60)  # to be killed in
model = train(pd.read_parquet(folder.parent / "shop.parquet"), datetime(2021, 6, 3), recipe, device="cpu",
              on_epoch=on_epoch, checkpoints=checkpoints)
save_file(model.state().tensors, folder / "model.safetensors")
print("trained", *seen, "of", *(report.stage for report in model.history), flush=True)
"""


def start(folder, *, stop_after=0):
    """Starts a training in a process of its own, which pauses after some epochs."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROGRAM, str(folder), str(stop_after)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def train_and_kill(folder, *, after):
    process = start(folder, stop_after=after)
    for _ in range(after):
        assert process.stdout.readline().startswith("epoch")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["key.safetensors"]


@pytest.fixture(scope="module")
def whole(shop, tmp_path_factory):
    """A folder with the shop and the model of an undisturbed training, and the stages of its epochs."""
    folder = tmp_path_factory.mktemp("whole")
    shop.to_parquet(folder / "shop.parquet")
    return folder, start(folder / "model").communicate()[0].splitlines()[-1].partition(" of ")[2].split()


# The chosen number of epochs depends on the processor; at least two are tried, and one is trained.
@pytest.mark.parametrize("killed_in", [["select"], ["select", "select"], ["select", "fit"]], ids=", then ".join)
def test_a_killed_training_continues_and_ends_bit_by_bit_as_one_that_was_not_killed(whole, killed_in):
    folder, stages = whole
    killed = folder / "-".join(killed_in)
    done = 0
    for stage in killed_in:
        # After the first epoch of the search, after its last one, or after the first of the final training.
        upto = {"select": stages.count("select") if done else 1, "fit": stages.count("select") + 1}[stage]
        train_and_kill(killed, after=upto - done)
        done = upto
    output, _ = start(killed).communicate()
    assert output.splitlines()[-1] == " ".join(["trained", *stages[done:], "of", *stages])
    one, other = (load_file(path / "model.safetensors") for path in (folder / "model", killed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


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


def test_a_checkpoint_is_read_as_it_was_saved_and_can_be_cleared(tmp_path):
    checkpoints = CheckpointFile(tmp_path / "new", "key")
    assert checkpoints.load() is None
    progress = Progress({"a": torch.arange(3), "b": torch.ones(2, 2)}, {"epoch": 1, "sampling": {"state": 2**100}})
    checkpoints.save(progress)
    back = checkpoints.load()
    assert back.facts == progress.facts
    assert all(torch.equal(back.tensors[name], progress.tensors[name]) for name in progress.tensors)
    assert CheckpointFile(tmp_path / "new", "other").load() is None
    checkpoints.clear()
    assert checkpoints.load() is None
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"not tensors", None], ids=["empty", "other", "cut short"])
def test_a_damaged_checkpoint_causes_a_warning_and_no_error(tmp_path, caplog, damage):
    checkpoints = CheckpointFile(tmp_path, "key")
    checkpoints.save(Progress({"a": torch.arange(1000)}, {"epoch": 1}))
    checkpoints.path.write_bytes(checkpoints.path.read_bytes()[:-100] if damage is None else damage)
    assert checkpoints.load() is None
    assert "starts from the beginning" in caplog.text


def test_a_folder_that_cannot_be_written_causes_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    checkpoints = CheckpointFile(tmp_path / "file", "key")
    checkpoints.save(Progress({"a": torch.arange(3)}, {"epoch": 1}))
    checkpoints.clear()
    assert "was not written" in caplog.text


def test_an_abandoned_checkpoint_is_removed_after_a_week(tmp_path):
    import os

    abandoned, fresh = CheckpointFile(tmp_path, "abandoned"), CheckpointFile(tmp_path, "fresh")
    abandoned.save(Progress({"a": torch.arange(3)}, {"epoch": 1}))
    old = time.time() - timedelta(days=KEPT_DAYS + 1).total_seconds()
    os.utime(abandoned.path, (old, old))
    fresh.save(Progress({"a": torch.arange(3)}, {"epoch": 1}))
    assert [path.name for path in tmp_path.iterdir()] == [fresh.path.name]


def test_a_training_of_several_processes_has_another_key_than_one_of_a_single_process(recipe, monkeypatch):
    alone = checkpoint_key("ab12", CUTOFF, recipe, "cpu")
    monkeypatch.setattr("ncf_pipeline.training.checkpoints.place", lambda device: replace(place(device), world=2))
    # Each process of the pair needs a random state of its own, which the checkpoint of one process does not have.
    assert checkpoint_key("ab12", CUTOFF, recipe, "cpu") != alone


def test_only_the_same_training_finds_its_checkpoint(recipe):
    key = checkpoint_key("ab12", CUTOFF, recipe, "cpu")
    assert key == checkpoint_key("ab12", CUTOFF, replace(recipe), "cpu")
    others = [
        checkpoint_key("cd34", CUTOFF, recipe, "cpu"),
        checkpoint_key("ab12", CUTOFF + timedelta(days=1), recipe, "cpu"),
        checkpoint_key("ab12", CUTOFF, replace(recipe, seed=1), "cpu"),
        checkpoint_key("ab12", CUTOFF, recipe, "cpu", 2),
    ]
    assert len({key, *others}) == 5
