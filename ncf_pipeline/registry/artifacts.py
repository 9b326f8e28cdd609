"""Model versions in the artifact store: a folder with safetensors, JSON and a manifest. No pickle.

    <artifacts>/models/v000042/
        model.safetensors     every tensor of the network
        vocabularies.json     the ids behind the rows of the embeddings
        model_card.md         for people; nothing reads it again
        manifest.json         config, lineage, metrics, and SHA-256 of the files above and of itself

Where customers were erased from it, two files are called by their content (`stored_as` in the manifest), so that
replacing the manifest, one rename, replaces all.

A folder is written under a temporary name and then renamed, so a reader finds a whole one or none.
Where the store cannot rename (S3), files are moved one by one, the manifest last: a folder without
a manifest does not exist.
"""

import hashlib
import json
import posixpath
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import fsspec
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ncf_pipeline import __version__
from ncf_pipeline.errors import ArtifactError, DamagedModelError, OutdatedModelError
from ncf_pipeline.model.trained import ModelState, TrainedModel
from ncf_pipeline.storage.files import file_exists, list_files, new_file, remove_file, store_errors

TENSORS = "model.safetensors"
VOCABULARIES = "vocabularies.json"
MANIFEST = "manifest.json"
CARD = "model_card.md"
FORMAT = 2
_SEAL = "manifest_sha256"


def version_url(artifacts: str, version: int, *, backtest: bool = False) -> str:
    """Where a version's folder is: the refit that serves, or the backtest that was evaluated."""
    return f"{artifacts}/{'backtests' if backtest else 'models'}/v{version:06d}"


def save_model(
    model: TrainedModel, url: str, *, lineage: dict[str, Any], card: str, figures: Mapping[str, bytes] | None = None
) -> None:
    """Writes a model's folder, replacing an older one of the same name.

    Args:
        model: what to keep.
        url: the folder, for fsspec (`file://`, `s3://`, ...).
        lineage: JSON-able facts for the manifest: version, snapshot id and hash, cutoff, metrics.
        card: the model card, Markdown.
        figures: what lies beside it, by the name under which the card shows it.

    Raises:
        ArtifactError: the store refused.
    """
    state = model.state()
    files = {
        TENSORS: save_tensors({name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}),
        VOCABULARIES: json.dumps(state.vocabularies).encode(),
        CARD: card.encode(),
        **(figures or {}),
    }
    manifest = {
        "format": FORMAT,
        "package_version": __version__,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": state.config,
        **lineage,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files[MANIFEST] = sealed(manifest)
    write_folder(url, files)


def read_file(url: str, name: str) -> bytes:
    """A file that the manifest of a model's folder lists: its card, or a figure.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    return _checked(url, name, read_manifest(url))


def revise_card(url: str, revise: Callable[[str], str]) -> None:
    """Gives a model's folder another card, made from the one that is there, and leaves all else as it is.

    May be stopped at any point and called again.

    Raises:
        ArtifactError: it is incomplete, or the store refused.
    """
    manifest = read_manifest(url)
    card = revise(_read(url, CARD).decode()).encode()
    _replace(f"{url}/{CARD}", card)
    manifest["sha256"][CARD] = hashlib.sha256(card).hexdigest()
    _replace(f"{url}/{MANIFEST}", sealed(manifest))


def load_model(url: str) -> TrainedModel:
    """Reads a model's folder and checks every file against the manifest.

    Raises:
        OutdatedModelError: this version of the package computes other features than it was trained with.
        DamagedModelError: it is missing, incomplete or damaged.
        ArtifactError: the store cannot be reached, or it is of a newer format.
    """
    try:
        return TrainedModel.from_state(_read_state(url, read_manifest(url)))
    except OutdatedModelError as error:
        raise OutdatedModelError(f"{url} cannot score any more: {error}. Retrain.") from error
    except (KeyError, ValueError, RuntimeError) as error:
        raise DamagedModelError(f"{url} cannot be read as a model: {error}. Retrain, or roll back.") from error


def erase_customer(url: str, customer_id: int, lineage: dict[str, Any]) -> bool:
    """Takes a customer's row out of a model's folder. A reader finds the model with it or without, always whole.

    May be stopped at any point and called again.

    Args:
        url: the folder.
        customer_id: whose row goes.
        lineage: what the manifest's `erasures` say of it.

    Returns:
        Whether there was one.

    Raises:
        ArtifactError: the model is damaged, or the store refused.
    """
    try:
        manifest = read_manifest(url)
    except OutdatedModelError:  # it serves nobody, but names them as any other
        manifest = json.loads(_read(url, MANIFEST))
    if not file_exists(f"{url}/{_stored_as(manifest, VOCABULARIES)}"):  # it was pruned: what is left names nobody
        return False
    state = _read_state(url, manifest)
    found = customer_id in state.vocabularies["customers"]
    if found:
        without = state.without_customers([customer_id])
        files = {TENSORS: save_tensors(without.tensors), VOCABULARIES: json.dumps(without.vocabularies).encode()}
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        manifest["stored_as"] = {name: f"{each[:16]}-{name}" for name, each in hashes.items()}
        manifest["sha256"] |= hashes
        manifest["erasures"] = [*manifest.get("erasures", ()), lineage]
        for name, content in files.items():
            _replace(f"{url}/{manifest['stored_as'][name]}", content)
        _replace(f"{url}/{MANIFEST}", sealed(manifest))
    _remove_older(url, {_stored_as(manifest, name) for name in (TENSORS, VOCABULARIES)})
    return found


def _read_state(url: str, manifest: dict[str, Any]) -> ModelState:
    content = {name: _checked(url, name, manifest) for name in (TENSORS, VOCABULARIES)}
    try:
        return ModelState(load_tensors(content[TENSORS]), manifest["config"], json.loads(content[VOCABULARIES]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedModelError(f"{url} cannot be read as a model: {error}. Retrain, or roll back.") from error


def _stored_as(manifest: dict[str, Any], name: str) -> str:
    return str(manifest.get("stored_as", {}).get(name, name))


def _replace(url: str, content: bytes) -> None:
    with new_file(url) as file:
        file.write(content)


def _remove_older(url: str, kept: set[str]) -> None:
    for name in list_files(url):
        if name.removesuffix(".tmp").endswith((TENSORS, VOCABULARIES)) and name not in kept:
            remove_file(f"{url}/{name}")


def read_manifest(url: str) -> dict[str, Any]:
    """The manifest of a model's folder.

    Raises:
        OutdatedModelError: it is of a format that this version no longer reads.
        DamagedModelError: there is none, or it is damaged.
        ArtifactError: the store cannot be reached, or it is of a format that this version does not know.
    """
    try:
        manifest: dict[str, Any] = json.loads(_read(url, MANIFEST))
    except ValueError as error:
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: {error}. Retrain, or roll back.") from error
    if not isinstance(manifest, dict) or "sha256" not in manifest:
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: it is no manifest. Retrain, or roll back.")
    if manifest.get("format") == 1:  # without a seal
        raise OutdatedModelError(f"{url}/{MANIFEST} was written by an earlier version. Retrain.")
    if manifest.get(_SEAL) != _seal(manifest):
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: its SHA-256 is another. Retrain, or roll back.")
    if manifest["format"] != FORMAT:
        raise ArtifactError(f"{url}/{MANIFEST} is not of format {FORMAT}: it was written by another version.")
    return manifest


def sealed(manifest: dict[str, Any]) -> bytes:
    """A manifest's file, with a SHA-256 over its own content in it."""
    return json.dumps({**manifest, _SEAL: _seal(manifest)}, indent=2).encode()


def _seal(manifest: dict[str, Any]) -> str:
    # As it is read again: JSON has no tuples, and its keys are text.
    content = json.loads(json.dumps({name: value for name, value in manifest.items() if name != _SEAL}))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_folder(url: str, files: dict[str, bytes]) -> None:
    """Writes files under a temporary name and renames the folder; the last file of the dict moves last.

    Raises:
        ArtifactError: the store refused; what was there before is still there.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.invalidate_cache()  # of what other processes wrote since
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        filesystem.makedirs(temporary, exist_ok=True)
        try:
            for name, content in files.items():
                filesystem.pipe_file(posixpath.join(temporary, name), content)
            if filesystem.exists(path):
                filesystem.rm(path, recursive=True)
            if "file" in filesystem.protocol:
                filesystem.mv(temporary, path, recursive=True)
            else:
                for name in files:
                    filesystem.mv(posixpath.join(temporary, name), posixpath.join(path, name))
        finally:
            if filesystem.exists(temporary):
                filesystem.rm(temporary, recursive=True)
    except store_errors() as error:
        raise ArtifactError(f"{url} was not written: {error}. Is there room, and may this user write there?") from error


def _checked(url: str, name: str, manifest: dict[str, Any]) -> bytes:
    data = _read(url, _stored_as(manifest, name))
    if hashlib.sha256(data).hexdigest() != manifest["sha256"].get(name):
        raise DamagedModelError(f"{url}/{name} is damaged: its SHA-256 is not the manifest's. Retrain, or roll back.")
    return data


def _read(url: str, name: str) -> bytes:
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        content: bytes = filesystem.cat_file(posixpath.join(path, name))
    except FileNotFoundError as error:
        raise DamagedModelError(
            f"{url}/{name} is missing: the artifact is incomplete. Retrain, or roll back."
        ) from error
    except store_errors() as error:
        raise ArtifactError(f"{url}/{name} cannot be read: {error}.") from error
    return content
