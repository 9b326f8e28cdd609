"""The device policy: where to train, and which options each kind of device gets. Everything that differs is here.

Lists are always made on the CPU: most of their time goes to features, which NumPy computes.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import distributed

from ncf_pipeline.errors import TrainingError

Precision = Literal["fp32", "tf32", "bf16"]
"""Of matrix products: float32; TF32, which rounds their inputs to 10 bits of mantissa, on CUDA alone; bfloat16
autocast. Weights, their average and the loss are float32 in all of them."""


@dataclass(frozen=True)
class Policy:
    """The options of a kind of device.

    Attributes:
        precision: of matrix products; bf16 becomes fp32 on a CUDA device that does not have it.
        compile_from: fewest steps of a training that is compiled by `torch.compile`; None for never. It fuses this
            network's many small kernels, but takes a minute or so before the first step. Several processes never
            compile: that has had trouble with shapes that vary.
        resident: whether the training queries live in the device's memory, if half of it holds them. A batch is then
            gathered there, and the CPU sends indices alone.
    """

    precision: Precision = "fp32"
    compile_from: int | None = None
    resident: bool = False


POLICIES = {
    "cpu": Policy(),
    "cuda": Policy(resident=True),
}
"""The defaults, by kind of device. On an H200, bf16 and TF32 took as long as float32: the matrices are small. Compiling
took a minute and saved half a second an epoch. docs/scale.md has the table, `make check-gpu` makes it."""


@dataclass(frozen=True)
class Placement:
    """A device and the options that make it faster.

    Attributes:
        device: where tensors live.
        policy: precision, compilation, and where the queries live.
        fused: the fused AdamW, one kernel a step.
        pinned: page-locked host memory, so that copies overlap with compute; the next batches are made in a thread.
        rank: of this process among those that train together, from 0.
        world: number of processes that train together.
    """

    device: torch.device
    policy: Policy
    fused: bool
    pinned: bool
    rank: int = 0
    world: int = 1

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context for the forward pass: bfloat16 or nothing."""
        bf16 = self.policy.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext()

    def selected(self) -> AbstractContextManager[object]:
        """Returns the context in which this device is the current one of the calling thread."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    @contextmanager
    def multiplying(self) -> Iterator[None]:
        """The context for epochs: sets how CUDA multiplies float32 matrices, which is global, and sets it back."""
        before = torch.get_float32_matmul_precision()
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high" if self.policy.precision == "tf32" else "highest")
        try:
            yield
        finally:
            if self.device.type == "cuda":
                torch.set_float32_matmul_precision(before)

    def compiles(self, steps: int) -> bool:
        """Whether a training of so many steps is compiled.

        Args:
            steps: most steps of the training.
        """
        return self.world == 1 and self.policy.compile_from is not None and steps >= self.policy.compile_from

    def holds(self, megabytes: float) -> bool:
        """Whether the training queries are to live in the device's memory: at most half of what is free.

        Args:
            megabytes: MiB that they take.
        """
        if not self.policy.resident:
            return False
        if self.device.type != "cuda":
            return True
        free, _ = torch.cuda.mem_get_info(self.device)
        return megabytes * 2**20 <= free / 2


def place(device: str = "auto", policy: Policy | None = None) -> Placement:
    """Chooses the device and its options. If several processes train together, each takes its own CUDA device.

    Args:
        device: `auto` (CUDA if the machine has it), `cpu` or `cuda`.
        policy: options; those of `POLICIES` for the kind of device if None.

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
    policy = policy or POLICIES["cuda" if cuda else "cpu"]
    if cuda and policy.precision == "bf16" and not torch.cuda.is_bf16_supported():
        policy = Policy("fp32", policy.compile_from, policy.resident)
    together = distributed.is_available() and distributed.is_initialized()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    return Placement(
        device=torch.device("cuda", _number_of_device(world, together=together)) if cuda else torch.device("cpu"),
        policy=policy,
        fused=cuda,
        pinned=cuda,
        rank=rank,
        world=world,
    )


def _number_of_device(world: int, *, together: bool) -> int:
    """The CUDA device of this process. Processes share one only over gloo: NCCL refuses that."""
    if not together:
        return torch.cuda.current_device()
    number, count = distributed.get_node_local_rank(0), torch.cuda.device_count()
    if number < count:
        return number
    if "nccl" not in distributed.get_backend_config():
        return number % count
    raise TrainingError(
        f"{world} processes train together, but this machine shows {count} CUDA devices. "
        "Start one process for each device."
    )
