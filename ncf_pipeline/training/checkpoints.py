"""Where a training that is killed goes on from: one local file, replaced after each epoch. No pickle.

    <NCF_HOME>/checkpoints/<key>.safetensors

The key says what is trained, on what, and where: only a training that would have come to the same state
finds it. It is written under another name and then renamed, so there is a whole one or none. It saves
time and nothing else: one that cannot be read or written costs a warning, never the training.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ncf_pipeline import __version__
from ncf_pipeline.model.device import place
from ncf_pipeline.model.features.tables import FEATURES
from ncf_pipeline.model.fitting import Progress
from ncf_pipeline.model.recipe import Recipe

logger = logging.getLogger(__name__)

KEPT_DAYS = 7
"""Days after which the file of a training that nobody went on with is removed."""


def checkpoint_key(
    snapshot_sha256: str, cutoff: datetime, recipe: Recipe, device: str, epochs: int | None = None
) -> str:
    """Names a training by all that its result depends on: data, recipe, code, kind of device, number of processes."""
    placement = place(device)
    facts = {
        "snapshot": snapshot_sha256,
        "cutoff": cutoff.isoformat(),
        "recipe": asdict(recipe),
        "epochs": epochs,
        "features": FEATURES,
        "device": placement.device.type,
        "processes": placement.world,
        "package": __version__,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class CheckpointFile:
    """The checkpoint of one training; a `model.training.Checkpoints`.

    Args:
        folder: made when first written to.
        key: from `checkpoint_key`.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key}.safetensors"

    def load(self) -> Progress | None:
        """The last that was saved; None, with a warning, where it cannot be read."""
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
                facts = json.loads(file.metadata()["progress"])
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read: %s. Training starts from the beginning.", self.path, error)
            return None
        logger.info("Training goes on after its last epoch, from %s.", self.path)
        return Progress(tensors, facts)

    def save(self, progress: Progress) -> None:
        """Keeps it in place of the one before; a full disk costs a warning."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_forgotten()
            with _written_whole(self.path) as temporary:
                save_file(progress.tensors, temporary, metadata={"progress": json.dumps(progress.facts)})
        except (OSError, SafetensorError) as error:
            logger.warning(
                "%s was not written: %s. If training is killed, it starts from the beginning.", self.path, error
            )

    def clear(self) -> None:
        """Removes it: the model is kept elsewhere now."""
        try:
            for path in self.path.parent.glob(f"{self.path.name}*"):  # and what a kill left half-written
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s was not removed: %s.", self.path, error)

    def _remove_forgotten(self) -> None:
        for path in self.path.parent.glob("*.safetensors*"):
            if time.time() - path.stat().st_mtime > KEPT_DAYS * 86_400:
                path.unlink(missing_ok=True)


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes the file's once its bytes are on the disk."""
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
