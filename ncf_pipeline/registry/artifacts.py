"""Model versions in the artifact store: a folder with safetensors, JSON and a manifest. No pickle.

    <artifacts>/models/v000042/
        model.safetensors     every tensor of the network
        vocabularies.json     the ids behind the rows of the embeddings
        model_card.md         for people; no model is loaded from it
        manifest.json         config, lineage, metrics, and the SHA-256 of the files above and of itself

After an erasure, two files are named after their content (`stored_as` in the manifest). So replacing the manifest,
one rename, replaces them all.

A folder is written under a temporary name and then renamed, so a reader finds a complete one or none. If the store
cannot rename a folder (S3), files are moved one by one, the manifest last: a folder without a manifest does not count.
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
    """The URL of a version's folder: that of the refit, which serves, or of the backtest, which was evaluated.

    >>> version_url("s3://shop", 42)
    's3://shop/models/v000042'
    >>> version_url("s3://shop", 42, backtest=True)
    's3://shop/backtests/v000042'
    """
    return f"{artifacts}/{'backtests' if backtest else 'models'}/v{version:06d}"


def save_model(
    model: TrainedModel, url: str, *, lineage: dict[str, Any], card: str, figures: Mapping[str, bytes] | None = None
) -> None:
    """Writes a model's folder, in place of an older one at the same URL.

    Args:
        model: to store.
        url: of the folder, for fsspec (`file://`, `s3://`, ...).
        lineage: JSON-able facts for the manifest: version, snapshot id and hash, cutoff, metrics.
        card: the model card, Markdown.
        figures: the card's figures, SVG, by file name.

    Raises:
        ArtifactError: the store cannot be reached, or refused.
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
    """Reads a file that a model's manifest lists, such as its card or a figure.

    Raises:
        OutdatedModelError: the manifest has a format that this version no longer reads.
        DamagedModelError: the file or the manifest is missing or damaged.
        ArtifactError: the store cannot be reached, or the manifest has a newer format.
    """
    return _checked(url, name, read_manifest(url))


def revise_card(url: str, revise: Callable[[str], str]) -> None:
    """Replaces a model's card by one that is made from it. The other files stay as they are.

    May be stopped at any point and called again.

    Args:
        url: of the model's folder.
        revise: returns the new card for the present one.

    Raises:
        ArtifactError: the folder is incomplete or damaged, or the store refused.
    """
    manifest = read_manifest(url)
    card = revise(_read(url, CARD).decode()).encode()
    _replace(f"{url}/{CARD}", card)
    manifest["sha256"][CARD] = hashlib.sha256(card).hexdigest()
    _replace(f"{url}/{MANIFEST}", sealed(manifest))


def load_model(url: str) -> TrainedModel:
    """Reads a model's folder and checks every file against the manifest.

    Raises:
        OutdatedModelError: this version of the package computes other features than the model was trained with, or
            no longer reads its format.
        DamagedModelError: the folder is missing, incomplete or damaged.
        ArtifactError: the store cannot be reached, or the model has a newer format.
    """
    try:
        return TrainedModel.from_state(_read_state(url, read_manifest(url)))
    except OutdatedModelError as error:
        raise OutdatedModelError(f"{url} can no longer score: {error}. Retrain.") from error
    except (KeyError, ValueError, RuntimeError) as error:
        raise DamagedModelError(f"{url} cannot be read as a model: {error}. Retrain, or roll back.") from error


def erase_customer(url: str, customer_id: int, lineage: dict[str, Any]) -> bool:
    """Removes a customer's row from a model. A reader meanwhile finds a complete model, with the row or without it.

    May be stopped at any point and called again.

    Args:
        url: of the model's folder.
        customer_id: of the customer to erase.
        lineage: JSON-able entry for the manifest's `erasures`.

    Returns:
        Whether the model had a row of this customer.

    Raises:
        ArtifactError: the model is damaged, or the store refused.
    """
    try:
        manifest = read_manifest(url)
    except OutdatedModelError:  # it no longer serves, but it still names the customer
        manifest = json.loads(_read(url, MANIFEST))
    if not file_exists(f"{url}/{_stored_as(manifest, VOCABULARIES)}"):  # it was pruned: the rest names nobody
        return False
    state = _read_state(url, manifest)
    knows_customer = customer_id in state.vocabularies["customers"]
    if knows_customer:
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
    return knows_customer


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
    """Reads a model's manifest and checks its own SHA-256.

    Raises:
        OutdatedModelError: it has a format that this version no longer reads.
        DamagedModelError: it is missing or damaged.
        ArtifactError: the store cannot be reached, or it has a format that this version does not know.
    """
    try:
        manifest: dict[str, Any] = json.loads(_read(url, MANIFEST))
    except ValueError as error:
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: {error}. Retrain, or roll back.") from error
    if not isinstance(manifest, dict) or "sha256" not in manifest:
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: it is not a manifest. Retrain, or roll back.")
    if manifest.get("format") == 1:  # without a seal
        raise OutdatedModelError(f"{url}/{MANIFEST} was written by an earlier version of the package. Retrain.")
    if manifest.get(_SEAL) != _seal(manifest):
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: its SHA-256 does not match. Retrain, or roll back.")
    if manifest["format"] != FORMAT:
        raise ArtifactError(f"{url}/{MANIFEST} has format {manifest['format']}, not {FORMAT}: upgrade the package.")
    return manifest


def sealed(manifest: dict[str, Any]) -> bytes:
    """A manifest's file content, with the SHA-256 of everything else in it."""
    return json.dumps({**manifest, _SEAL: _seal(manifest)}, indent=2).encode()


def _seal(manifest: dict[str, Any]) -> str:
    # Hash what a reader gets back: JSON has no tuples, and its keys are text.
    content = json.loads(json.dumps({name: value for name, value in manifest.items() if name != _SEAL}))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_folder(url: str, files: dict[str, bytes]) -> None:
    """Writes a folder's files under a temporary name, then renames it; in an object store, the last file moves last.

    Args:
        url: of the folder.
        files: content by file name.

    Raises:
        ArtifactError: the store cannot be reached, or refused.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.invalidate_cache()  # other processes may have written files since
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
        raise DamagedModelError(f"{url}/{name} is damaged: its SHA-256 does not match. Retrain, or roll back.")
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
        raise ArtifactError(f"{url}/{name} cannot be read: {error}. Can the artifact store be reached?") from error
    return content
