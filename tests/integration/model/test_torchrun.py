"""Training in two real processes that torchrun starts, over gloo."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from shop_with_tastes import CUTOFF

from ncf_pipeline.evaluation.metrics import precision_at_k
from ncf_pipeline.evaluation.scores import agreement, truth_of
from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.trained import TrainedModel

pytestmark = pytest.mark.trains

PROGRAM = """
import json, os, sys, time
from pathlib import Path
import pandas as pd
import torch
from safetensors.torch import save_file
from ncf_pipeline.training import distributed
from ncf_pipeline.training.checkpoints import CheckpointFile
from ncf_pipeline.errors import NcfError
from ncf_pipeline.model import training
from ncf_pipeline.model.recipe import Recipe

folder, pause = Path(sys.argv[1]), float(sys.argv[2])
rank = int(os.environ["RANK"])
(folder / f"{rank}.pid").write_text(str(os.getpid()))
train = training.train

def kept(*arguments, **options):
    model = train(*arguments, **options)
    save_file(model.state().tensors, folder / f"{rank}.safetensors")
    return model

training.train = kept

def on_epoch(report):
    (folder / "epochs.txt").open("a").write(f"{report.stage}\\n")
    time.sleep(pause)

def command():
    recipe = Recipe(max_epochs=2, embedding_dim=8, hidden=(16, 8), popular_candidates=15, taste_candidates=5)
    try:
        model = distributed.train(
            pd.read_parquet(folder.parent / "shop.parquet"), pd.Timestamp("2021-06-03").to_pydatetime(), recipe,
            device="cpu", on_epoch=on_epoch, checkpoints=CheckpointFile(folder / "checkpoints", "key"),
        )
    except NcfError as error:
        print(error, flush=True)
        sys.exit(1)
    (folder / "config.json").write_text(json.dumps(model.state().config))

distributed.run(command)
"""


@pytest.fixture(scope="module")
def start(shop, tmp_path_factory):
    """Starts the program in two processes, in a folder of its own."""
    home = tmp_path_factory.mktemp("torchrun")
    shop.to_parquet(home / "shop.parquet")
    (home / "program.py").write_text(PROGRAM)
    running = []

    def begin(name, pause=0.0):
        (home / name).mkdir(exist_ok=True)
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            str(home / "program.py"), str(home / name), str(pause),
        ]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process, home / name

    yield begin
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def pair(start):
    """The folder of a training in two processes that nothing disturbed."""
    process, folder = start("pair")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return folder


def wait_for_epoch(process, folder):
    deadline = time.monotonic() + 90
    while not (folder / "epochs.txt").exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def precision(model, shop, truth):
    lists = customer_lists(model, shop, CUTOFF, 5)
    for_you = lists[lists["list_name"] == "for_you"].set_index("key")["stock_codes"]
    return lists, np.mean(
        [precision_at_k(for_you[str(who)], bought=truth.bought["for_you"][who], k=5) for who in truth.known_customers]
    )


@pytest.mark.timeout(240)
def test_two_processes_train_one_model_as_good_as_that_of_one(pair, shop, model):
    ranks = [load_file(pair / f"{rank}.safetensors") for rank in (0, 1)]
    # The first one alone trains trees, as a process alone does.
    trees = {name: ranks[0].pop(name) for name in [*ranks[0]] if name.startswith("trees.")}
    assert equal(trees, {name: each for name, each in model.state().tensors.items() if name.startswith("trees.")})
    assert equal(*ranks)
    # The first process alone tells of epochs.
    assert len((pair / "epochs.txt").read_text().split()) == len(model.history)

    state = model.state()
    assert not equal(ranks[0], state.tensors)  # they dealt dropout and negatives otherwise
    state.tensors.update(ranks[0])
    of_two = TrainedModel.from_state(state)
    truth = truth_of(shop, CUTOFF, shop["purchased_at"].max())
    (ours, of_pair), (theirs, of_one) = (precision(each, shop, truth) for each in (of_two, model))
    assert of_pair == pytest.approx(of_one, abs=0.03)
    assert agreement(ours, theirs, question="for_you", k=5) > 0.75


@pytest.mark.timeout(240)
def test_a_pair_that_was_killed_goes_on_and_ends_as_one_that_was_not(start, pair):
    killed, folder = start("killed", pause=60)
    wait_for_epoch(killed, folder)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    for rank in (0, 1):  # their own session; torchrun puts them into others
        try:
            os.kill(int((folder / f"{rank}.pid").read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue
    resumed, _ = start("killed")
    output, _ = resumed.communicate()
    assert resumed.returncode == 0, output
    assert (folder / "epochs.txt").read_text() == (pair / "epochs.txt").read_text()
    assert equal(load_file(folder / "0.safetensors"), load_file(pair / "0.safetensors"))


@pytest.mark.timeout(120)
def test_when_one_process_dies_the_others_end_soon_and_keep_no_model(start):
    process, folder = start("dying", pause=1)
    wait_for_epoch(process, folder)
    os.kill(int((folder / "1.pid").read_text()), signal.SIGKILL)
    started = time.monotonic()
    process.communicate()
    assert process.returncode != 0
    assert time.monotonic() - started < 45
    assert not (folder / "config.json").exists()
