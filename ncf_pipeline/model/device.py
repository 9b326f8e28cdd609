"""The device policy: where to train and score, and which options that device gets."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import distributed

from ncf_pipeline.errors import TrainingError


@dataclass(frozen=True)
class Placement:
    """A device and the options that make it faster.

    Attributes:
        device: where tensors live.
        bf16: bfloat16 autocast, on CUDA devices that support it: faster on tensor cores, with the range of float32.
        fused: the fused AdamW, one kernel a step.
        pinned: page-locked host memory, so that copies overlap with compute; the next batch is made in a thread.
        compiled: whether `torch.compile` may be used: on a single CUDA device only. It fuses this network's many small
            kernels, but takes a minute or so before the first step. In several processes, it has had trouble with
            shapes that vary.
        rank: of this process among those that train together, from 0.
        world: number of processes that train together.
    """

    device: torch.device
    bf16: bool
    fused: bool
    pinned: bool
    compiled: bool = False
    rank: int = 0
    world: int = 1

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context for the forward pass: bfloat16 or nothing."""
        return torch.autocast("cuda", torch.bfloat16) if self.bf16 else nullcontext()


def place(device: str = "auto") -> Placement:
    """Chooses the device and its options. If several processes train together, each takes its own CUDA device.

    The CUDA part is written from the documentation; no machine with a GPU has run it yet.

    Args:
        device: `auto` (CUDA if the machine has it), `cpu` or `cuda`.

    Raises:
        TrainingError: the name is unknown, `cuda` is asked for and the machine has none, or more processes train than
            it has devices.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"device is {device!r}: choose auto, cpu or cuda.")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise TrainingError(
            "device is cuda, but this machine shows no CUDA device. Set NCF_DEVICE=cpu, or fix the driver."
        )
    cuda = available and device != "cpu"
    together = distributed.is_available() and distributed.is_initialized()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    number = distributed.get_node_local_rank(0) if together else torch.cuda.current_device() if cuda else 0
    if cuda and number >= torch.cuda.device_count():
        raise TrainingError(
            f"{world} processes train together, but this machine shows {torch.cuda.device_count()} CUDA devices. "
            "Start one process for each device."
        )
    return Placement(
        device=torch.device("cuda", number) if cuda else torch.device("cpu"),
        bf16=cuda and torch.cuda.is_bf16_supported(),
        fused=cuda,
        pinned=cuda,
        compiled=cuda and world == 1,
        rank=rank,
        world=world,
    )
