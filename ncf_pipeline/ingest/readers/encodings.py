"""Which encoding a text file has, decided from all its bytes. An encoding that cannot be told is refused."""

import codecs
import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.header import shortened
from ncf_pipeline.ingest.readers.unpacking import too_large

STRAY = "\N{REPLACEMENT CHARACTER}"
"""Stands for a byte that is not of the file's encoding."""

_WESTERN = "cp1252"
_SAVE_AS_UTF8 = "Save it as CSV in UTF-8."
_LONGEST = 1 << 20
_MOST_STRANGE = 0.1

_NOT_LATIN = re.compile(
    # three such letters in a row: a word of another alphabet
    r"[À-ÖØ-öø-ÿŒœŠšŽžŸ]{3,}"
    # a capital after a small letter, as é becomes Ž when it was written on a Mac
    r"|[a-zß-öø-ÿœšž][À-ÖØ-ÝŒŠŽŸ]"
    # a letter in a code, unless it ends an ordinal number or is the sign for a diameter
    r"|\d[À-ÇÊ-ÖÙ-çê-öù-ÿŒœŠšŽžŸ]|\b[À-ÖÙ-öù-ÿŒœŠšŽžŸ]\d"
    # a sign inside a word
    r"|(?<=[A-Za-zÀ-ÖØ-öø-ÿ])[¡-¬¯-³µ¶¸-¿×÷‚ƒ„…†‡ˆ‰‹“”•˜›€](?=[A-Za-zÀ-ÖØ-öø-ÿ])"
    r"|(?<=[A-Za-zÀ-ÖØ-öø-ÿ])[‚„]|£(?=[A-Za-zÀ-ÖØ-öø-ÿ])"
    # signs and letters that shops hardly use in the languages of Windows-1252
    r"|[¤¦¨¬¯¶¸¹ƒ†‡ˆ‰‹›þðÞÐ]"
)
"""Places in text that was decoded as Windows-1252, but is probably of another encoding."""


class EncodingError(InputError):
    """The encoding of a file cannot be told, or is not the one that was given for it."""


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file.

    Attributes:
        name: as Python knows it.
        has_stray_bytes: whether some bytes are not of the encoding; the decoded text has `STRAY` for them.
        note: what a person should know of the decision; None if it is certain.
    """

    name: str
    has_stray_bytes: bool = False
    note: str | None = None


def encoding_of(
    open_bytes: Callable[[], AbstractContextManager[IO[bytes]]], name: str, *, most_bytes: int | None, given: str | None
) -> Encoding:
    """Reads a file to its end, because an encoding may fail on the last line only.

    Args:
        open_bytes: opens the file, unpacked.
        name: what people call it, for messages.
        most_bytes: a file with more bytes is refused; None for no limit.
        given: the encoding that a person has named.

    Raises:
        InputError: the file is empty or too large, fits no encoding, or could be of several. The message has the rows.
    """
    with open_bytes() as file:
        start = file.read(4096)
    if not start:
        raise InputError(f"{name} is empty. Send it again.")
    if given is not None:
        if not _fits(open_bytes, name, given, most_bytes):
            raise EncodingError(f"{name} is not text in {given}, the encoding that is given for it. Name another one.")
        return Encoding(given)
    utf16 = _utf16_of(start)
    if utf16 is not None:
        if _fits(open_bytes, name, utf16, most_bytes):
            return Encoding(utf16)
    elif _fits(open_bytes, name, "utf-8-sig", most_bytes):
        return Encoding("utf-8-sig")
    elif b"\x00" not in start:
        return _of_lines(open_bytes, name, most_bytes)
    raise EncodingError(f"{name} is not text in UTF-8, UTF-16 or Windows-1252. {_SAVE_AS_UTF8}")


def register_stray_bytes() -> str:
    """The name of an error handler that decodes each byte that does not fit to one `STRAY`."""

    def one_for_each(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        return STRAY * (error.end - error.start), error.end

    codecs.register_error("ncf-stray-bytes", one_for_each)
    return "ncf-stray-bytes"


def _fits(
    open_bytes: Callable[[], AbstractContextManager[IO[bytes]]], name: str, encoding: str, most_bytes: int | None
) -> bool:
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError as error:
        raise EncodingError(
            f"{name}: there is no encoding {shortened(encoding, 40)!r}. Name one such as cp1251."
        ) from error
    size = 0
    with open_bytes() as file:
        try:
            while block := file.read(_LONGEST):
                size += len(block)
                _check_size(size, name, most_bytes)
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
    return True


def _check_size(size: int, name: str, most_bytes: int | None) -> None:
    if most_bytes is not None and size > most_bytes:
        raise too_large(name, most_bytes >> 20)


@dataclass
class _Tally:
    """Lines that are not plain ASCII, with the first of each kind."""

    lines: int = 0
    row: int = 0
    text: str = ""

    def add(self, row: int, text: str) -> None:
        if not self.lines:
            self.row, self.text = row, text
        self.lines += 1


def _of_lines(
    open_bytes: Callable[[], AbstractContextManager[IO[bytes]]], name: str, most_bytes: int | None
) -> Encoding:
    """UTF-8 with stray bytes, or Windows-1252: a file that is neither is refused."""
    utf8, other, strange = _Tally(), _Tally(), _Tally()
    with open_bytes() as file:
        # Latin-1 keeps each byte as one character.
        lines = io.TextIOWrapper(io.BufferedReader(file, _LONGEST), "latin-1", newline=None)  # type: ignore[type-var]
        row = size = 0
        while line := lines.readline(_LONGEST):
            row += 1
            size += len(line)
            _check_size(size, name, most_bytes)
            if line.isascii():
                continue
            try:
                utf8.add(row, line.encode("latin-1").decode())
            except UnicodeDecodeError:
                text = line.encode("latin-1").decode(_WESTERN, "replace")
                other.add(row, text)
                if STRAY in text or _NOT_LATIN.search(text):
                    strange.add(row, text)
    if utf8.lines >= other.lines:
        return Encoding(
            "utf-8-sig", has_stray_bytes=True, note=f"row {other.row:,} has a byte that is not UTF-8, as the rest is"
        )
    if utf8.lines:
        raise EncodingError(
            f"{name} mixes encodings: row {utf8.row:,} is UTF-8 ({_around(utf8.text)}), and row {other.row:,} is not "
            f"({_around(other.text)}). {_SAVE_AS_UTF8}"
        )
    if strange.lines > _MOST_STRANGE * other.lines:
        raise EncodingError(
            f"{name}, row {strange.row:,}: the encoding is not UTF-8, and read as Windows-1252 it would be "
            f"{_around(strange.text)}. {_SAVE_AS_UTF8}"
        )
    return Encoding(_WESTERN, note=f"read as Windows-1252; row {other.row:,} has {_around(other.text)}")


def _around(text: str) -> str:
    """The first word that is not plain ASCII."""
    word = re.search(r"[^\s,;|]*[^\x00-\x7f][^\s,;|]*", text)
    return shortened(word[0] if word else text, 40)


def _utf16_of(start: bytes) -> str | None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = start[0::2], start[1::2]
    # Without a byte order mark: most characters have one zero byte of two.
    if odd and odd.count(0) > 0.7 * len(odd) and even.count(0) < 0.3 * len(even):
        return "utf-16-le"
    if odd and even.count(0) > 0.7 * len(even) and odd.count(0) < 0.3 * len(odd):
        return "utf-16-be"
    return None
