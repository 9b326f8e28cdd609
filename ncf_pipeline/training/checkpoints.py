"""Checkpoints: a training that was killed continues from a local file, which each epoch replaces. No pickle.

    <NCF_HOME>/checkpoints/<key>.safetensors

The key depends on everything that determines the training, so only the same training finds the file. It is written
under another name and then renamed, so it is whole or missing. It only saves time: if it cannot be read or written,
training logs a warning and runs all the same.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ncf_pipeline import __version__
from ncf_pipeline.model.device import Policy, place
from ncf_pipeline.model.features.tables import feature_names
from ncf_pipeline.model.fitting import Progress
from ncf_pipeline.model.recipe import Recipe

logger = logging.getLogger(__name__)

KEPT_DAYS = 7
"""Days after which the checkpoint of an abandoned training is removed."""


def checkpoint_key(
    snapshot_sha256: str,
    cutoff: datetime,
    recipe: Recipe,
    device: str,
    epochs: int | None = None,
    policy: Policy | None = None,
) -> str:
    """Identifies a training by everything that its result depends on.

    Args:
        snapshot_sha256: of the snapshot.
        cutoff: of the training data.
        recipe: hyper-parameters.
        device: `auto`, `cpu` or `cuda`; its kind and the number of processes count.
        epochs: the number of epochs; None if training chooses it.
        policy: the device's options; the defaults of `device.POLICIES` if None. Its precision counts.

    Raises:
        TrainingError: there is no such device.
    """
    placement = place(device, policy)
    facts = {
        "snapshot": snapshot_sha256,
        "cutoff": cutoff.isoformat(),
        "recipe": recipe.as_dict(),
        "epochs": epochs,
        "features": feature_names(recipe),
        "device": placement.device.type,
        "precision": placement.policy.precision,
        "processes": placement.world,
        "package": __version__,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class CheckpointFile:
    """The checkpoint of one training; implements `model.training.Checkpoints`.

    Args:
        folder: created by the first save.
        key: from `checkpoint_key`.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key}.safetensors"

    def load(self) -> Progress | None:
        """Returns the last saved progress; None if there is none, or, with a warning, if it cannot be read."""
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
                facts = json.loads(file.metadata()["progress"])
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read: %s. Training starts from the beginning.", self.path, error)
            return None
        logger.info("Training continues after its last epoch, from %s.", self.path)
        return Progress(tensors, facts)

    def save(self, progress: Progress) -> None:
        """Replaces the previous checkpoint. If that fails, such as on a full disk, it logs a warning."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            with _written_whole(self.path) as temporary:
                save_file(progress.tensors, temporary, metadata={"progress": json.dumps(progress.facts)})
        except (OSError, SafetensorError) as error:
            logger.warning(
                "%s was not written: %s. If training is killed, it starts from the beginning.", self.path, error
            )

    def clear(self) -> None:
        """Removes the checkpoint once the model is stored."""
        try:
            for path in self.path.parent.glob(f"{self.path.name}*"):  # also what a kill left half-written
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s was not removed: %s. It takes space until it is removed by hand.", self.path, error)

    def _remove_abandoned(self) -> None:
        for path in self.path.parent.glob("*.safetensors*"):
            if time.time() - path.stat().st_mtime > KEPT_DAYS * 86_400:
                path.unlink(missing_ok=True)


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path, and renames it to the file once its bytes are on the disk."""
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
