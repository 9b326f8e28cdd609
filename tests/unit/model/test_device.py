"""The device policy, as far as it can be tested without a GPU."""

import logging
from dataclasses import replace

import pytest
import torch
from shop_with_tastes import CUTOFF

from ncf_pipeline.errors import TrainingError
from ncf_pipeline.model import fitting
from ncf_pipeline.model.batches import prefetched
from ncf_pipeline.model.device import place
from ncf_pipeline.model.training import train


def test_the_cpu_gets_no_option_of_cuda():
    placement = place("cpu")
    assert placement.device == torch.device("cpu")
    assert not any((placement.bf16, placement.fused, placement.pinned, placement.compiled))
    assert (placement.rank, placement.world) == (0, 1)


def test_missing_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="shows no CUDA device"):
        place("cuda")


def test_a_failed_compilation_is_a_warning_and_training_continues(shop, recipe, model, monkeypatch, caplog):
    def compile_badly(network, **options):
        assert options == {"dynamic": True}

        def called(batch):
            raise RuntimeError("no compiler here\nand a long trace")

        return called

    monkeypatch.setattr(torch, "compile", compile_badly)
    monkeypatch.setattr(fitting, "LONG_STEPS", 0)
    monkeypatch.setattr("ncf_pipeline.model.training.place", lambda device: replace(place("cpu"), compiled=True))
    caplog.set_level(logging.WARNING)
    trained = train(shop, CUTOFF, recipe, device="cpu").state().tensors
    assert "torch.compile failed; training continues without it: no compiler here" in caplog.text
    assert all(torch.equal(trained[name], tensor) for name, tensor in model.state().tensors.items())


def test_prefetched_items_are_the_same_in_the_same_order():
    assert list(prefetched(iter(range(1, 6)))) == [1, 2, 3, 4, 5]
    assert list(prefetched(iter([]))) == []

    def breaks():
        yield 1
        raise ValueError("made badly")

    made = prefetched(breaks())
    assert next(made) == 1
    with pytest.raises(ValueError, match="made badly"):
        next(made)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gets_all_of_its_options():
    placement = place("cuda")
    assert placement.fused
    assert placement.pinned
    assert placement.compiled
