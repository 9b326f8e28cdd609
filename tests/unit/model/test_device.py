"""The device policy, as far as it can be tested without a GPU."""

import logging
import threading
from dataclasses import replace

import pytest
import torch
from shop_with_tastes import CUTOFF

from ncf_pipeline.errors import TrainingError
from ncf_pipeline.model.batches import Batches, spread
from ncf_pipeline.model.device import POLICIES, Policy, place
from ncf_pipeline.model.training import train


def test_the_cpu_gets_no_option_of_cuda():
    placement = place("cpu")
    assert placement.device == torch.device("cpu")
    assert placement.policy == Policy(precision="fp32", compile_from=None, resident=False)
    assert not any((placement.fused, placement.pinned, placement.compiles(10**9)))
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
    caplog.set_level(logging.WARNING)
    trained = train(shop, CUTOFF, recipe, device="cpu", policy=Policy(compile_from=0)).state().tensors
    assert "torch.compile failed; training continues without it: no compiler here" in caplog.text
    assert all(torch.equal(trained[name], tensor) for name, tensor in model.state().tensors.items())


def test_only_a_long_training_of_a_single_process_is_compiled():
    placement = place("cpu", Policy(compile_from=100))
    assert placement.compiles(100)
    assert not placement.compiles(99)
    assert not replace(placement, world=2).compiles(100)


def test_queries_on_the_device_train_the_same_model(shop, recipe, model, monkeypatch):
    moments = Batches.moments
    # Those of the device have other last digits, and Adam makes much of a gradient that is next to nothing.
    monkeypatch.setattr(
        Batches,
        "moments",
        lambda self: moments(Batches(self.chunks, self.customer_rows, self.product_rows, self.placement)),
    )
    trained = train(shop, CUTOFF, recipe, device="cpu", policy=Policy(resident=True)).state().tensors
    assert all(torch.equal(trained[name], tensor) for name, tensor in model.state().tensors.items())


def test_bfloat16_trains_on_the_cpu_too_with_weights_in_float32(shop, recipe, model):
    trained = train(shop, CUTOFF, recipe, device="cpu", epochs=1, policy=Policy("bf16")).network_alone().state().tensors
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in trained.values())
    assert any(not torch.equal(trained[name], tensor) for name, tensor in model.state().tensors.items())


@pytest.mark.parametrize(("backends", "shares"), [("cpu:gloo,cuda:nccl", False), ("cpu:gloo,cuda:gloo", True)])
def test_two_processes_share_a_card_over_gloo_alone(monkeypatch, backends, shares):
    for name, value in (
        ("is_initialized", True), ("get_rank", 1), ("get_world_size", 2), ("get_backend_config", backends),
    ):  # fmt: skip
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    monkeypatch.setattr(torch.distributed, "get_node_local_rank", lambda fallback: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    if shares:
        placement = place("cuda", Policy("bf16"))
        assert (placement.device, placement.rank) == (torch.device("cuda", 0), 1)
        assert placement.policy == Policy("fp32")  # a card without bfloat16
    else:
        with pytest.raises(TrainingError, match="Start one process for each device"):
            place("cuda")


def test_work_is_spread_over_threads_and_comes_back_in_order():
    threads = torch.get_num_threads()
    assert [list(spread(lambda item: -item, list(range(count)))) for count in (0, 1, 9)] == [
        [],
        [0],
        [0, -1, -2, -3, -4, -5, -6, -7, -8],
    ]
    within = list(spread(lambda _: torch.get_num_threads(), range(9)))
    assert within == [threads, 1, 1, 1, 1, 1, 1, 1, 1]
    started_later = []
    thread = threading.Thread(target=lambda: started_later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *started_later] == [threads, threads]


def test_what_fails_in_a_thread_is_raised():
    def fails(item):
        return 1 / (3 - item)

    spread_out = spread(fails, range(9))
    assert [next(spread_out) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(spread_out)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gets_all_of_its_options():
    placement = place("cuda")
    assert placement.fused
    assert placement.pinned
    assert placement.policy == POLICIES["cuda"]
