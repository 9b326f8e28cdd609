"""Model versions in the artifact store: a folder with safetensors, JSON and a manifest. No pickle.

    <artifacts>/models/v000042/
        9f86d081884c7d65-model.safetensors     every tensor of the network
        60303ae22b998861-vocabularies.json     the ids behind the rows of the embeddings
        fd61a03af4f77d87-model_card.md         the card, for people; no model is loaded from it; its figures likewise
        manifest.json                          config, lineage, metrics, the SHA-256 of the files above and of itself
        model_card.md                          a copy of the card under a plain name, and of its figures

A file's name begins with its SHA-256, and the manifest says which files are the model's (`stored_as`). It is written
last and takes its name in one step. So a reader finds a whole model at any moment: the one from before, or the new one.
If several write at once, the last manifest counts. Files that no manifest names stay for a week, because a writer may
be about to name them: `serving.prune` removes them. Folders of earlier versions have files without a SHA-256 in their
names.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ncf_pipeline import __version__
from ncf_pipeline.errors import ArtifactError, DamagedModelError, OutdatedModelError
from ncf_pipeline.model.trained import ModelState, TrainedModel
from ncf_pipeline.registry.manifests import SEAL, KnownManifests, seal_of, sealed
from ncf_pipeline.storage.files import (
    file_exists,
    filesystem_of,
    list_files,
    new_file,
    remove_file,
    store_error,
    store_errors,
)

TENSORS = "model.safetensors"
VOCABULARIES = "vocabularies.json"
MANIFEST = "manifest.json"
CARD = "model_card.md"
FORMAT = 2

Content = TypeVar("Content")


def version_url(artifacts: str, version: int, *, backtest: bool = False) -> str:
    """The URL of a version's folder: that of the refit, which serves, or of the backtest, which was evaluated.

    >>> version_url("s3://shop", 42)
    's3://shop/models/v000042'
    >>> version_url("s3://shop", 42, backtest=True)
    's3://shop/backtests/v000042'
    """
    return f"{artifacts}/{'backtests' if backtest else 'models'}/v{version:06d}"


def save_model(
    model: TrainedModel,
    url: str,
    *,
    lineage: dict[str, Any],
    card: str,
    figures: Mapping[str, bytes] | None = None,
    known: KnownManifests | None = None,
) -> None:
    """Writes a model's folder, in place of an older one at the same URL. When it returns, the model is on the disk.

    Args:
        model: to store.
        url: of the folder, for fsspec (`file://`, `s3://`, ...).
        lineage: JSON-able facts for the manifest: version, snapshot id and hash, cutoff, metrics.
        card: the model card, Markdown.
        figures: the card's figures, SVG, by file name.
        known: where the manifest's SHA-256 is kept too.

    Raises:
        ArtifactError: the store cannot be reached, or refused. What was there before is still there.
        DatabaseError: Postgres cannot be reached, or refused.
    """
    state = model.state()
    for_people = {CARD: card.encode(), **(figures or {})}
    files = {
        TENSORS: save_tensors({name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}),
        VOCABULARIES: json.dumps(state.vocabularies).encode(),
        **for_people,
    }
    manifest = {
        "format": FORMAT,
        "package_version": __version__,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": state.config,
        **lineage,
        **_write_files(url, files),
    }
    _put_manifest(url, manifest, before=_seal_in_place(url), known=known)
    for name, content in for_people.items():
        _replace(f"{url}/{name}", content)


def read_file(url: str, name: str, *, known: KnownManifests | None = None) -> bytes:
    """Reads a file that a model's manifest lists, such as its card or a figure.

    Raises:
        OutdatedModelError: the manifest has a format that this version no longer reads.
        DamagedModelError: the file or the manifest is missing or damaged, or the database has another manifest.
        ArtifactError: the store cannot be reached, or the manifest has a newer format.
    """
    return _read_by_manifest(url, known, lambda manifest: _checked(url, name, manifest))


def revise_card(url: str, revise: Callable[[str], str], *, known: KnownManifests | None = None) -> None:
    """Replaces a model's card by one that is made from it. The other files stay as they are.

    May be stopped at any point and called again.

    Args:
        url: of the model's folder.
        revise: returns the new card for the present one.
        known: where the manifest's SHA-256 is kept too.

    Raises:
        ArtifactError: the folder is incomplete or damaged, or the store refused.
        DatabaseError: Postgres cannot be reached, or refused.
    """
    manifest = read_manifest(url, known=known)
    card = revise(_read(url, _stored_as(manifest, CARD)).decode()).encode()
    _put_manifest(url, _with_files(url, manifest, {CARD: card}), before=manifest[SEAL], known=known, is_changed=True)
    _replace(f"{url}/{CARD}", card)


def load_model(url: str, *, known: KnownManifests | None = None) -> TrainedModel:
    """Reads a model's folder and checks every file against the manifest, and the manifest against the database.

    Args:
        url: of the model's folder.
        known: what the database knows of the version's manifests; None checks the folder alone.

    Raises:
        OutdatedModelError: this version of the package computes other features than the model was trained with, or
            no longer reads its format.
        DamagedModelError: the folder is missing, incomplete or damaged, or holds another model than was registered.
        ArtifactError: the store cannot be reached, or the model has a newer format.
        DatabaseError: Postgres cannot be reached, or refused.
    """
    try:
        return TrainedModel.from_state(_read_by_manifest(url, known, lambda manifest: _read_state(url, manifest)))
    except OutdatedModelError as error:
        raise OutdatedModelError(f"{url} can no longer score: {error}. Retrain.") from error
    except (KeyError, ValueError, RuntimeError) as error:
        raise DamagedModelError(f"{url} cannot be read as a model: {error}. Retrain, or roll back.") from error


def erase_customer(url: str, customer_id: str, lineage: dict[str, Any], *, known: KnownManifests | None = None) -> bool:
    """Removes a customer's row from a model. A reader meanwhile finds a complete model, with the row or without it.

    May be stopped at any point and called again.

    Args:
        url: of the model's folder.
        customer_id: of the customer to erase.
        lineage: JSON-able entry for the manifest's `erasures`.
        known: where the manifest's SHA-256 is kept too.

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
        changed = _with_files(url, manifest, files) | {"erasures": [*manifest.get("erasures", ()), lineage]}
        _put_manifest(url, changed, before=manifest.get(SEAL), known=known, is_changed=True)
        manifest = changed
    remove_files(url, keep={_stored_as(manifest, name) for name in (TENSORS, VOCABULARIES)})
    return knows_customer


def is_content(name: str) -> bool:
    """Whether a file in a model's folder is one that only a manifest gives a meaning; copies for people are not."""
    return name in (TENSORS, VOCABULARIES) or re.match(r"[0-9a-f]{16}-", name) is not None


def files_of(url: str) -> set[str]:
    """The names of the files that a folder's manifest names, whatever its format; none if there is no manifest.

    Raises:
        ArtifactError: the manifest is damaged, or the store cannot be reached.
    """
    if not file_exists(f"{url}/{MANIFEST}"):
        return set()
    manifest = _parsed(url)
    return {_stored_as(manifest, name) for name in manifest["sha256"]}


def remove_files(url: str, *, keep: Collection[str] = ()) -> None:
    """Removes the tensors and vocabularies in a model's folder, those of killed and superseded writers too.

    Args:
        url: of the folder. Nobody may be writing there.
        keep: names of files that stay.

    Raises:
        ArtifactError: the store cannot be reached, or refused.
    """
    for name in list_files(url):
        if is_content(name) and name.endswith((TENSORS, VOCABULARIES)) and name not in keep:
            remove_file(f"{url}/{name}")


def _read_by_manifest(url: str, known: KnownManifests | None, read: Callable[[dict[str, Any]], Content]) -> Content:
    """Reads files that a manifest names. If it is replaced meanwhile, and they are removed, reads by the new one."""
    manifest = read_manifest(url, known=known)
    while True:
        try:
            return read(manifest)
        except DamagedModelError:
            newer = read_manifest(url, known=known)
            if newer[SEAL] == manifest[SEAL]:
                raise
            manifest = newer


def _write_files(url: str, files: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """Writes files under names that begin with their SHA-256; returns what the manifest says of them."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    stored_as = {name: f"{each[:16]}-{name}" for name, each in hashes.items()}
    for name, content in files.items():
        _replace(f"{url}/{stored_as[name]}", content)
    return {"sha256": hashes, "stored_as": stored_as}


def _with_files(url: str, manifest: dict[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest with other content of some files, which it writes."""
    written = _write_files(url, files)
    return manifest | {part: manifest.get(part, {}) | written[part] for part in written}


def _put_manifest(
    url: str,
    manifest: dict[str, Any],
    *,
    before: str | None,
    known: KnownManifests | None,
    is_changed: bool = False,
) -> None:
    """Makes a manifest and the files that it names the model, in one step.

    Args:
        url: of the model's folder.
        manifest: to write.
        before: the SHA-256 of the manifest in place; None if there is none.
        known: where the new one's SHA-256 is kept too.
        is_changed: whether it was made from the one in place, and so counts only if that one does.
    """
    seal = seal_of(manifest)
    if known is not None and not (is_changed and before is None):
        known.expect(seal, replaces=before if is_changed else None)
    _replace(f"{url}/{MANIFEST}", sealed(manifest))
    if known is not None and before is not None and before != seal:
        known.forget(before)


def _seal_in_place(url: str) -> str | None:
    if not file_exists(f"{url}/{MANIFEST}"):
        return None
    try:
        seal: str | None = _parsed(url).get(SEAL)
    except DamagedModelError:
        return None
    return seal


def _read_state(url: str, manifest: dict[str, Any]) -> ModelState:
    content = {name: _checked(url, name, manifest) for name in (TENSORS, VOCABULARIES)}
    try:
        # In models from before version 0.2, the customers are numbers: 17850 is the customer "17850".
        vocabularies = {name: [str(each) for each in ids] for name, ids in json.loads(content[VOCABULARIES]).items()}
        return ModelState(load_tensors(content[TENSORS]), manifest["config"], vocabularies)
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedModelError(f"{url} cannot be read as a model: {error}. Retrain, or roll back.") from error


def _stored_as(manifest: dict[str, Any], name: str) -> str:
    return str(manifest.get("stored_as", {}).get(name, name))


def _replace(url: str, content: bytes) -> None:
    with new_file(url) as file:
        file.write(content)


def read_manifest(url: str, *, known: KnownManifests | None = None) -> dict[str, Any]:
    """Reads a model's manifest and checks its own SHA-256, here and in the database.

    Raises:
        OutdatedModelError: it has a format that this version no longer reads.
        DamagedModelError: it is missing or damaged, or the database has another one.
        ArtifactError: the store cannot be reached, or it has a format that this version does not know.
        DatabaseError: Postgres cannot be reached, or refused.
    """
    manifest = _read_manifest(url)
    while known is not None and (objection := known.objection(manifest)) is not None:
        # If it was replaced between the two looks, the database no longer knows the one that was read first.
        before, manifest = manifest, _read_manifest(url)
        if manifest[SEAL] == before[SEAL]:
            raise DamagedModelError(f"{url}/{MANIFEST} was swapped: {objection}. Retrain, or roll back.")
    return manifest


def _parsed(url: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(_read(url, MANIFEST))
    except ValueError as error:
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: {error}. Retrain, or roll back.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), dict):
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: it is not a manifest. Retrain, or roll back.")
    return manifest


def _read_manifest(url: str) -> dict[str, Any]:
    manifest = _parsed(url)
    if manifest.get("format") == 1:  # without a seal
        raise OutdatedModelError(f"{url}/{MANIFEST} was written by an earlier version of the package. Retrain.")
    if manifest.get(SEAL) != seal_of(manifest):
        raise DamagedModelError(f"{url}/{MANIFEST} is damaged: its SHA-256 does not match. Retrain, or roll back.")
    if manifest["format"] != FORMAT:
        raise ArtifactError(f"{url}/{MANIFEST} has format {manifest['format']}, not {FORMAT}: upgrade the package.")
    return manifest


def _checked(url: str, name: str, manifest: dict[str, Any]) -> bytes:
    data = _read(url, _stored_as(manifest, name))
    if hashlib.sha256(data).hexdigest() != manifest["sha256"].get(name):
        raise DamagedModelError(f"{url}/{name} is damaged: its SHA-256 does not match. Retrain, or roll back.")
    return data


def _read(url: str, name: str) -> bytes:
    try:
        filesystem, path = filesystem_of(url)
        content: bytes = filesystem.cat_file(posixpath.join(path, name))
    except FileNotFoundError as error:
        raise DamagedModelError(
            f"{url}/{name} is missing: the artifact is incomplete. Retrain, or roll back."
        ) from error
    except store_errors() as error:
        raise store_error(f"{url}/{name} cannot be read", error) from error
    return content
