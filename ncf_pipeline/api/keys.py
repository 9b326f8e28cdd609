"""The keys of the API: who may read, and who may write."""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from ncf_pipeline.errors import SettingsError
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

Role = Literal["reader", "writer"]

SHORTEST = 20
"""Characters of a key: fewer could be guessed."""

LOOK_SECONDS = 1.0
"""The file with keys is looked at no more often."""

_ENTRY = re.compile(rf"(reader|writer)(?::([A-Za-z0-9_-]{{1,32}}))?=([A-Za-z0-9._~+/-]{{{SHORTEST},200}}=*)")


@dataclass(frozen=True)
class Key:
    """Whose requests are answered. The key itself is not kept, only its SHA-256.

    Attributes:
        role: what its owner may do; a writer may read, too.
        name: in logs, and beside what was hidden: given, or the beginning of the SHA-256.
        digest: SHA-256 of the key.
    """

    role: Role
    name: str
    digest: bytes


ANYBODY = Key("writer", "without-key", b"")
"""Whoever asks an API that has no keys."""


def keys_in(text: str) -> list[Key]:
    """The keys in a text: `reader=KEY` or `writer:NAME=KEY`, separated by spaces or lines; `#` begins a comment.

    Raises:
        SettingsError: an entry is none. What it holds is not repeated: it may be a key.

    >>> [(key.role, key.name) for key in keys_in("reader:web=0123456789abcdefghij  # of the website")]
    [('reader', 'web')]
    """
    entries = [entry for line in text.splitlines() for entry in line.partition("#")[0].split()]
    keys: list[Key] = []
    for place, entry in enumerate(entries, start=1):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise SettingsError(
                f"Entry {place} of the API's keys is not reader=KEY, writer=KEY or writer:NAME=KEY, with a KEY of "
                f"{SHORTEST} to 200 letters, digits or ._~+/-. `openssl rand -hex 32` makes one."
            )
        role, name, key = found.groups()
        digest = _digest(key)
        keys.append(Key(cast("Role", role), name or digest.hex()[:8], digest))
    if len({key.digest for key in keys}) < len(keys):
        raise SettingsError("Two of the API's keys are the same. Each entry needs a key of its own.")
    return keys


def keys_of(settings: Settings) -> list[Key]:
    """The keys that are set, those of the file first.

    Raises:
        SettingsError: the file cannot be read, or an entry is none.
    """
    text = settings.api_keys.get_secret_value() if settings.api_keys is not None else ""
    if settings.api_keys_file is not None:
        try:
            text = f"{settings.api_keys_file.read_text()}\n{text}"
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"NCF_API_KEYS_FILE: {settings.api_keys_file} cannot be read as text. Name the file with the keys."
            ) from error
    return keys_in(text)


class RenewedKeys:
    """The keys that are set, read again whenever the file with keys changes, so that a key is replaced without a gap.

    If the file cannot be used, the keys before stay valid, and the log says why. A file without keys is used.

    Raises:
        SettingsError: at the start, as `keys_of`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mark = self._seen()  # first: a change while the file is read is another change
        self._keys: Sequence[Key] = keys_of(settings)
        self._next_look = time.monotonic() + LOOK_SECONDS

    def __call__(self) -> Sequence[Key]:
        """The keys that are valid now."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            mark = self._seen()
            if mark != self._mark:
                self._mark = mark
                self._read_again()
        return self._keys

    def _seen(self) -> tuple[int, ...] | None:
        """What changes with the file, and with the one that a link to it names; None without a file."""
        file = self._settings.api_keys_file
        if file is None:
            return None
        try:
            found = file.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)

    def _read_again(self) -> None:
        try:
            self._keys = keys_of(self._settings)
        except SettingsError as error:
            said = "The keys of the API were not read again, and those before stay valid: %s"
            logger.error(said, error)  # noqa: TRY400
            return
        of_each = [sum(key.role == role for key in self._keys) for role in ("reader", "writer")]
        logger.info("The keys of the API were read again: %d of readers, %d of writers.", *of_each)


def owner_of(authorization: str | None, keys: Sequence[Key]) -> Key | None:
    """The key that a request shows; None if it shows none, or another.

    How long it takes tells nothing of the keys: each is compared, in constant time.

    Args:
        authorization: the header, `Bearer KEY`.
        keys: all that are valid.
    """
    scheme, _, shown = (authorization or "").partition(" ")
    digest = _digest(shown.strip())
    owner = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            owner = key
    return owner if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
