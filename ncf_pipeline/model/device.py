"""The one device policy: where to train and score, and what follows from it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from ncf_pipeline.errors import TrainingError


@dataclass(frozen=True)
class Placement:
    """A device and the choices that pay on it.

    Attributes:
        device: where tensors live.
        bf16: bfloat16 autocast: on CUDA, where tensor cores make it the faster and still safe range.
        fused: the fused AdamW, one kernel a step.
        pinned: page-locked host memory, so that copies overlap with compute.
    """

    device: torch.device
    bf16: bool
    fused: bool
    pinned: bool

    def autocast(self) -> AbstractContextManager[object]:
        """The forward pass's number format."""
        return torch.autocast("cuda", torch.bfloat16) if self.bf16 else nullcontext()


def place(device: str = "auto") -> Placement:
    """Chooses the device and its policy.

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
    return Placement(
        device=torch.device("cuda" if cuda else "cpu"),
        bf16=cuda and torch.cuda.is_bf16_supported(),
        fused=cuda,
        pinned=cuda,
    )
