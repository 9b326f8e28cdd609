"""Training in several processes, started by torchrun: the first runs the command, the others only help to train.

    torchrun --nproc-per-node 2 -m ncf_pipeline retrain

Only process 0 reads the database and writes artifacts, checkpoints, lists and logs. For each training it sends the
purchases and the recipe to the others. All train the same network, each on its part of every batch. On CUDA each
process has its own device (NCCL); on the CPU they share the cores (gloo).
"""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import pandas as pd
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, distributed

from ncf_pipeline.errors import NcfError, TrainingError
from ncf_pipeline.model import training
from ncf_pipeline.model.device import Policy, place
from ncf_pipeline.model.fitting import Progress
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.model.training import Checkpoints, OnEpoch

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: a command may do other work before it trains. If a process dies, its
connections break, and the others notice at once."""


def run(command: Callable[[], None], *, sharing: bool = False) -> None:
    """Runs a command in the first process; the others help it to train until it ends.

    Args:
        command: of the first process.
        sharing: whether processes may share a CUDA device. They then talk by gloo, which copies through the host: it is
            slower than one process alone, and only shows that training works.
    """
    cuda = torch.cuda.is_available()
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda and not sharing else "gloo", timeout=PATIENCE)
    if cuda:
        # What asks for "the current device" must not start a context on the first one in every process.
        torch.cuda.set_device(distributed.get_node_local_rank(0) % torch.cuda.device_count())
    try:
        if distributed.get_rank() > 0:
            _help()
            return
        try:
            command()
        finally:
            # If another process died, sending fails, and nobody is left to receive.
            with contextlib.suppress(RuntimeError):
                _send(b"")
    finally:
        distributed.destroy_process_group()


def train(
    interactions: pd.DataFrame,
    cutoff: datetime,
    recipe: Recipe,
    *,
    looks: pd.DataFrame | None = None,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
    epochs: int | None = None,
    checkpoints: Checkpoints | None = None,
    budget_seconds: float | None = None,
    policy: Policy | None = None,
) -> TrainedModel:
    """Trains as `model.training.train` does, with the help of the other processes if torchrun started some.

    It takes the same arguments.

    Raises:
        TrainingError: as `model.training.train` does; or another process died.
    """
    together = place(device, policy).world > 1
    try:
        if together:
            checkpoints = _share(
                interactions, looks, cutoff, recipe, device, epochs, checkpoints, budget_seconds, policy
            )
        return training.train(
            interactions,
            cutoff,
            recipe,
            looks=looks,
            device=device,
            on_epoch=on_epoch,
            epochs=epochs,
            checkpoints=checkpoints,
            budget_seconds=budget_seconds,
            policy=policy,
        )
    except RuntimeError as error:
        if not together:
            raise
        raise TrainingError(
            f"Another of the {distributed.get_world_size()} training processes died, or cannot be reached: "
            f"{str(error).splitlines()[0]}. Run it again: training continues after its last epoch."
        ) from error


def _share(
    interactions: pd.DataFrame,
    looks: pd.DataFrame | None,
    cutoff: datetime,
    recipe: Recipe,
    device: str,
    epochs: int | None,
    checkpoints: Checkpoints | None,
    budget_seconds: float | None,
    policy: Policy | None,
) -> Checkpoints | None:
    """Sends a training to the other processes; returns checkpoints from which all processes continue."""
    earlier = checkpoints.load() if checkpoints is not None else None
    facts = {
        "cutoff": cutoff.isoformat(),
        "recipe": asdict(recipe),
        "device": device,
        "epochs": epochs,
        "keeps": checkpoints is not None,
        "budget_seconds": budget_seconds,
        "policy": asdict(policy) if policy is not None else None,
        "earlier": earlier.facts if earlier is not None else None,
    }
    _send(json.dumps(facts).encode())
    _send(_as_bytes(interactions))
    _send(_as_bytes(looks) if looks is not None and recipe.reads_looks else b"")
    _send(save_tensors(earlier.tensors) if earlier is not None else b"")
    return _Held(earlier, checkpoints) if checkpoints is not None else None


def _help() -> None:
    """Takes part in every training of the first process, until it sends that it has ended."""
    while facts := _receive():
        wanted, content, looks, tensors = json.loads(facts), _receive(), _receive(), _receive()
        earlier = Progress(load_tensors(tensors), wanted["earlier"]) if tensors else None
        values = wanted["recipe"]
        # The first process meets the same error in the data or the recipe, and reports it.
        with contextlib.suppress(NcfError):
            training.train(
                pd.read_parquet(io.BytesIO(content)),
                datetime.fromisoformat(wanted["cutoff"]),
                Recipe(**(values | {"hidden": tuple(values["hidden"])})),
                looks=pd.read_parquet(io.BytesIO(looks)) if looks else None,
                device=wanted["device"],
                epochs=wanted["epochs"],
                checkpoints=_Held(earlier, None) if wanted["keeps"] else None,
                budget_seconds=wanted["budget_seconds"],
                policy=Policy(**wanted["policy"]) if wanted["policy"] is not None else None,
            )


@dataclass(frozen=True)
class _Held:
    """Checkpoints that were read once, so that all processes continue from the same; only the first one writes."""

    earlier: Progress | None
    file: Checkpoints | None

    def load(self) -> Progress | None:
        return self.earlier

    def save(self, progress: Progress) -> None:
        if self.file is not None:
            self.file.save(progress)


def _as_bytes(table: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    table.to_parquet(content)
    return content.getvalue()


def _send(content: bytes) -> None:
    """Sends bytes from the first process to all others."""
    distributed.broadcast(torch.tensor([len(content)]), src=0)
    if content:
        distributed.broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8), src=0)


def _receive() -> bytes:
    length = torch.zeros(1, dtype=torch.int64)
    distributed.broadcast(length, src=0)
    content: Tensor = torch.empty(int(length), dtype=torch.uint8)
    if len(content):
        distributed.broadcast(content, src=0)
    return content.numpy().tobytes()
