"""Which manifests of a model the database knows: so whoever can write to the artifact store cannot swap a model.

A manifest has the SHA-256 of every file of its model, and one of itself. Both lie in the artifact store. The database
has the second one too, for each version and its backtest. It learns it before the manifest is written, and forgets the
replaced one afterwards. So a writer may be killed at any point, and several may write at once: whichever manifest is in
place, the database knows it.

A model from before this rule has no SHA-256 in the database. It is loaded if its manifest is whole and names this
version.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows, write

SEAL = "manifest_sha256"
"""The key of a manifest's own SHA-256."""


def sealed(manifest: dict[str, Any]) -> bytes:
    """A manifest's file content, with the SHA-256 of everything else in it."""
    return json.dumps({**manifest, SEAL: seal_of(manifest)}, indent=2).encode()


def seal_of(manifest: dict[str, Any]) -> str:
    """The SHA-256 of a manifest's content."""
    # Hash what a reader gets back: JSON has no tuples, and its keys are text.
    content = json.loads(json.dumps({name: value for name, value in manifest.items() if name != SEAL}))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class KnownManifests:
    """What the database knows of the manifests of a version.

    Attributes:
        settings: whose database.
        version: of the model.
        is_backtest: whether it is the model that was evaluated; otherwise the refit, which serves.
    """

    settings: Settings
    version: int
    is_backtest: bool = False

    def objection(self, manifest: dict[str, Any]) -> str | None:
        """What speaks against loading a model with this manifest, to end a sentence with; None if nothing does."""
        rows = read_rows(self.settings, "known_manifests", version=self.version, is_backtest=self.is_backtest)
        if rows:
            same = manifest[SEAL] in rows[0].sha256
            return None if same else f"it is not the one that was written for v{self.version}"
        named = manifest.get("version", self.version)
        return None if named == self.version else f"it is that of v{named}, not of v{self.version}"

    def expect(self, sha256: str, *, replaces: str | None = None) -> None:
        """Makes a manifest known before it is written.

        Args:
            sha256: of the manifest.
            replaces: the manifest that it was made from. If that one is not known, this one will not be either.
        """
        given = {"version": self.version, "is_backtest": self.is_backtest, "sha256": sha256, "replaces": replaces}
        write(self.settings, "expect_manifest", **given)

    def forget(self, sha256: str) -> None:
        """Lets a manifest no longer count, after another one has taken its place."""
        write(self.settings, "forget_manifest", version=self.version, is_backtest=self.is_backtest, sha256=sha256)
