"""The one device policy: where to train and score, and what follows from it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import distributed

from ncf_pipeline.errors import TrainingError


@dataclass(frozen=True)
class Placement:
    """A device and the choices that pay on it.

    Attributes:
        device: where tensors live.
        bf16: bfloat16 autocast: on CUDA, where tensor cores make it the faster and still safe range.
        fused: the fused AdamW, one kernel a step.
        pinned: page-locked host memory, so that copies overlap with compute; and batches made one ahead.
        compiled: whether `torch.compile` may be used: on one CUDA device. It fuses this network's many small kernels,
            but takes a minute or so before the first step, and has had trouble with shapes that vary in several
            processes.
        rank: of this process among those that train together, from 0.
        world: how many these are.
    """

    device: torch.device
    bf16: bool
    fused: bool
    pinned: bool
    compiled: bool = False
    rank: int = 0
    world: int = 1

    def autocast(self) -> AbstractContextManager[object]:
        """The forward pass's number format."""
        return torch.autocast("cuda", torch.bfloat16) if self.bf16 else nullcontext()


def place(device: str = "auto") -> Placement:
    """Chooses the device and its policy. Of several processes that train together, each takes a CUDA device of its own.

    What concerns CUDA was written from its documentation; no machine with a GPU has run it yet.

    Args:
        device: `auto` (CUDA where there is one), `cpu` or `cuda`.

    Raises:
        TrainingError: CUDA is asked for and not there, or the name is unknown.
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
            f"{world} processes train, and this machine shows {torch.cuda.device_count()} CUDA devices. "
            "Start as many as there are devices."
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
