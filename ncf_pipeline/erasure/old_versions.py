"""Old versions of files, in a bucket that keeps them: what a store overwrote or removed may still name a customer."""

import io
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import fsspec

from ncf_pipeline.erasure.contents import names_the_customer
from ncf_pipeline.registry.artifacts import TENSORS
from ncf_pipeline.storage.faults import may_pass
from ncf_pipeline.storage.files import UNFINISHED, store_error, store_errors


@dataclass(frozen=True)
class OldVersion:
    """A version of a file that is not the present one.

    Attributes:
        bucket: its name.
        key: of the file.
        version: its id.
    """

    bucket: str
    key: str
    version: str


def old_versions_naming(root: str, customer_id: str) -> list[OldVersion]:
    """The old versions that name a customer; with a vocabulary that does, those of the tensors beside it.

    Args:
        root: URL of an artifact store.
        customer_id: to search for.

    Returns:
        None of a store of which `not_listed` says why its old versions cannot be listed.

    Raises:
        ArtifactError: the store cannot be reached, or an old version cannot be read.
    """
    if not_listed(root) is not None or not _is_s3(root):
        return []
    try:
        store = _store()
        found = list(_old_versions(store, root))

        def names(version: OldVersion) -> bool:
            def opened(_: str) -> IO[bytes]:
                # In the path: as an argument, the version would not be looked up if the file itself is removed.
                at = f"{version.bucket}/{version.key}?versionId={version.version}"
                return io.BytesIO(store.cat_file(at))

            return names_the_customer(_finished(version.key), customer_id, opened)

        naming = [each for each in found if names(each)]
    except store_errors() as error:
        raise store_error(f"{root}: old versions cannot be searched", error, _NEEDS) from error
    folders = {posixpath.dirname(each.key) for each in naming}
    tensors = [
        each for each in found if _finished(each.key).endswith(TENSORS) and posixpath.dirname(each.key) in folders
    ]
    return list(dict.fromkeys([*naming, *tensors]))


def not_listed(root: str) -> str | None:
    """Why the old versions of a store's files cannot be listed, in words; None if they can, or if there are none.

    Raises:
        StoreUnavailableError: the store cannot be reached.
    """
    if root.startswith("file://"):
        return None
    if not _is_s3(root):
        return f"old versions of files in {root}, if it keeps them: delete those with its own tools"
    try:
        next(_old_versions(_store(), root), None)
    except store_errors() as error:
        if may_pass(error):
            raise store_error(f"{root}: old versions cannot be listed", error) from error
        return f"old versions of files in {root}, if the bucket keeps them: they cannot be listed. {_NEEDS}".rstrip(".")
    return None


def delete_versions(versions: list[OldVersion]) -> None:
    """Deletes old versions for good.

    Raises:
        ArtifactError: the store refused.
    """
    for each in versions:
        try:
            _store().call_s3("delete_object", Bucket=each.bucket, Key=each.key, VersionId=each.version)
        except store_errors() as error:
            raise store_error(
                f"An old version of s3://{each.bucket}/{each.key} was not deleted", error, _NEEDS
            ) from error


_NEEDS = (
    "That needs s3:ListBucketVersions, s3:GetObjectVersion and s3:DeleteObjectVersion, and no lock on the objects; or "
    "let a lifecycle rule (NoncurrentVersionExpiration) delete old versions."
)


def _finished(key: str) -> str:
    """The name that a file gets when it is whole: a bucket also keeps it under the name that it had before."""
    return re.sub(rf"\.[0-9a-f]{{8}}{re.escape(UNFINISHED)}$", "", key)


def _is_s3(root: str) -> bool:
    return root.startswith("s3://")


def _store() -> Any:
    return fsspec.filesystem("s3", version_aware=True)


def _old_versions(store: Any, root: str) -> Iterator[OldVersion]:
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    after: dict[str, str] = {}
    while True:
        page = store.call_s3("list_object_versions", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", **after)
        for each in page.get("Versions") or ():
            if not each["IsLatest"]:
                yield OldVersion(bucket, each["Key"], each["VersionId"])
        if not page.get("IsTruncated"):
            return
        after = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
