"""Which artifact stores hold files of this shop: the configured one, and every other that the registry names."""

import posixpath
import re
from dataclasses import dataclass

from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

_LAYOUT = re.compile(r"(.+)/(?:snapshots/[^/]+|(?:models|backtests)/v\d+|publications/p\d+\.parquet|drafts)")


@dataclass(frozen=True)
class ArtifactStore:
    """A place with the layout of the artifact store.

    Attributes:
        root: its URL, without a final slash.
        is_configured: whether it is that of `NCF_ARTIFACTS_URL`.
        is_expected: whether the registry names files there that nobody has pruned.
    """

    root: str
    is_configured: bool
    is_expected: bool


def artifact_stores(settings: Settings) -> list[ArtifactStore]:
    """All of them, the configured one first.

    Raises:
        DatabaseError: Postgres cannot be reached, or refused.
    """
    expected = {settings.artifacts: False}
    for row in read_rows(settings, "artifact_urls"):
        root = root_of(row.url)
        expected[root] = expected.get(root, False) or row.is_kept
    return [ArtifactStore(root, root == settings.artifacts, is_kept) for root, is_kept in expected.items()]


def root_of(url: str) -> str:
    """The artifact store of a snapshot, a model or a publication.

    >>> root_of("s3://shop/models/models/v000042"), root_of("file:///old/publications/p000007.parquet")
    ('s3://shop/models', 'file:///old')
    """
    matched = _LAYOUT.fullmatch(url.rstrip("/"))
    return matched[1] if matched else posixpath.dirname(url.rstrip("/"))
