"""A stage whose process was killed continues where it was when it is tried again, as Airflow does."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from ncf_pipeline import synthetic
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.registry import artifacts
from ncf_pipeline.training import retrain

pytestmark = pytest.mark.trains

PROGRAM = """
import sys
from ncf_pipeline.settings import load_settings
from ncf_pipeline.training import retrain
if sys.argv[1] == "backtest":
    retrain.backtest(load_settings(), sys.argv[2], run_key=sys.argv[3], requested_by="test")
else:
    retrain.refit(load_settings(), int(sys.argv[2]))
"""


def killed_after_an_epoch(settings, *arguments):
    """Runs a stage in a process of its own and kills it once an epoch is kept."""
    environment = os.environ | {
        "NCF_HOME": str(settings.home),
        "NCF_DATABASE_URL": settings.database(),
        "NCF_ARTIFACTS_URL": settings.artifacts,
    }
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], env=environment)
    deadline = time.monotonic() + 120
    while not kept(settings):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def kept(settings):
    return list(settings.checkpoints_path.glob("*.safetensors"))


@pytest.mark.timeout(600)
def test_killed_stages_continue_and_end_as_if_they_had_not_been_killed(settings, tmp_path, caplog):
    synthetic.write_workbook(tmp_path / "shop.xlsx", customers=150, products=120, days=180, seed=1)
    ingest(settings, [str(tmp_path / "shop.xlsx")])
    snapshot = retrain.snapshot(settings)
    caplog.set_level(logging.INFO)

    killed_after_an_epoch(settings, "backtest", snapshot, "killed")
    resumed = retrain.backtest(settings, snapshot, run_key="killed", requested_by="test")
    assert caplog.text.count("Training continues after its last epoch") == 1
    assert kept(settings) == []
    whole = retrain.backtest(settings, snapshot, run_key="whole", requested_by="test")
    assert resumed != whole
    assert_same_model(settings, resumed, whole, backtest=True)

    killed_after_an_epoch(settings, "refit", str(resumed))
    for version in (resumed, whole):
        retrain.refit(settings, version)
    assert caplog.text.count("Training continues after its last epoch") == 2
    assert kept(settings) == []
    assert_same_model(settings, resumed, whole, backtest=False)


def assert_same_model(settings, one, other, *, backtest):
    left, right = (
        artifacts.load_model(artifacts.version_url(settings.artifacts, version, backtest=backtest)).state()
        for version in (one, other)
    )
    assert left.vocabularies == right.vocabularies
    assert left.tensors.keys() == right.tensors.keys()
    assert all(torch.equal(left.tensors[name], right.tensors[name]) for name in left.tensors)
