"""Checkpoints as files: saved, read again, damaged, cleared."""

import os
import time
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from shop_with_tastes import CUTOFF

from ncf_pipeline.model.device import Policy, place
from ncf_pipeline.model.fitting import Progress
from ncf_pipeline.training.checkpoints import KEPT_DAYS, CheckpointFile, checkpoint_key


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
    abandoned, fresh = CheckpointFile(tmp_path, "abandoned"), CheckpointFile(tmp_path, "fresh")
    abandoned.save(Progress({"a": torch.arange(3)}, {"epoch": 1}))
    old = time.time() - timedelta(days=KEPT_DAYS + 1).total_seconds()
    os.utime(abandoned.path, (old, old))
    fresh.save(Progress({"a": torch.arange(3)}, {"epoch": 1}))
    assert [path.name for path in tmp_path.iterdir()] == [fresh.path.name]


def test_a_training_of_several_processes_has_another_key_than_one_of_a_single_process(recipe, monkeypatch):
    alone = checkpoint_key("ab12", CUTOFF, recipe, "cpu")
    monkeypatch.setattr(
        "ncf_pipeline.training.checkpoints.place", lambda device, policy: replace(place(device), world=2)
    )
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
        checkpoint_key("ab12", CUTOFF, recipe, "cpu", policy=Policy("bf16")),
    ]
    assert len({key, *others}) == 6
