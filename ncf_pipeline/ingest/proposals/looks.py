"""What the cells of a column look like: dates, numbers, e-mail addresses, codes, few different values."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from ncf_pipeline.ingest.mappings.mapping import FORMAT_MILLISECONDS, FORMAT_SECONDS

_USUAL_DATE = re.compile(
    r"\s*(?:\d{4}-\d{1,2}-\d{1,2}|\d{4}/\d{1,2}/\d{1,2}|\d{1,2}([./-])\d{1,2}\1\d{4})"
    r"(?:[ T]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[APap]\.?[Mm]\.?)?\s*(?:Z|[+-]\d{2}:?\d{2}|UTC|GMT)?)?\s*"
)
_NUMBER = re.compile(r"\s*[-+(]?\s*[^\W\d_]{0,3}[£$€¥]?\s*[-+]?\d[\d.,'\s]*\)?\s*(?:[£$€¥]|[^\W\d_]{0,3})\s*")
_DIGITS = re.compile(r"\s*\d+\s*")
_WHOLE = re.compile(r"\s*[-+]?\d+(?:[.,]0+)?\s*")
_CENTS = re.compile(r".*\d[.,]\d{2}\D*")
_EMAIL = re.compile(r"\s*[^\s@,;]+@[^\s@,;]+\.[^\s@,;]+\s*")
_TIME = re.compile(r"\s*\d{1,2}:\d{2}(?::\d{2})?(?:\s*[APap]\.?[Mm]\.?)?\s*")
_OFFSET = re.compile(r"\d\s*(?:Z|[+-]\d{2}:?\d{2}|UTC|GMT)\s*$")
_NUMBERED = re.compile(r"\s*(\d{1,2})[/-](\d{1,2})[/-]\d{2,4}\b")
_EITHER_MARK = re.compile(r"\s*[-+]?[^\W\d_]{0,3}[£$€]?\s*[-+]?[1-9]\d{0,2}[.,]\d{3}\s*[€]?\s*")
_MARKED = re.compile(r"\d[.,]\d")
_SIGN = re.compile(r"[£$€¥]")

_DAYS = (
    "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%b %d %Y", "%Y%m%d", "%Y.%m.%d", "%a, %d %b %Y",
)  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %I:%M %p", "T%H:%M:%S", "%H%M%S",
           " %H:%M:%S %z")  # fmt: skip
_MOST_LOOKED_AT = 2_000
_MOST_OF = 0.9


@dataclass(frozen=True)
class Looks:
    """What a column's cells look like. Shares are of the cells that are not empty.

    Attributes:
        filled: share of the cells that are not empty.
        different: how many different ones there are.
        values: the most frequent ones, with how often they occur.
        dates, numbers, wholes, cents, emails, times: share of the cells that look so.
        written_dates: the same of dates, without those that are digits only, and may be codes.
        words: the mean number of words.
    """

    filled: float
    different: int
    values: tuple[tuple[str, int], ...]
    dates: float
    written_dates: float
    numbers: float
    wholes: float
    cents: float
    emails: float
    times: float
    words: float


def looks_of(cells: Sequence[str]) -> Looks:
    """What the cells of a column look like."""
    counts = Counter(cell for cell in cells if cell.strip())
    filled = sum(counts.values())
    some = list(counts)[:_MOST_LOOKED_AT]
    of = max(len(some), 1)

    def share(pattern: re.Pattern[str]) -> float:
        return sum(pattern.fullmatch(cell) is not None for cell in some) / of

    usual = share(_USUAL_DATE)
    dates = usual if usual > 0.5 else float(bool(date_formats(some)))
    return Looks(
        filled=filled / max(len(cells), 1),
        different=len(counts),
        values=tuple(counts.most_common(50)),
        dates=dates,
        written_dates=0.0 if share(_DIGITS) > 0.5 else dates,
        numbers=share(_NUMBER),
        wholes=share(_WHOLE),
        cents=share(_CENTS),
        emails=share(_EMAIL),
        times=share(_TIME),
        words=sum(len(cell.split()) for cell in some) / of,
    )


def date_formats(cells: Iterable[str]) -> tuple[str, ...]:
    """The format that a mapping has to name, so that the cells are read as dates; none if they are usual dates.

    Two if the day or the month may come first.

    >>> date_formats(["25/12/11 10:05", "26/12/11 10:05"]), date_formats(["2011-12-25"])
    (('%d/%m/%y %H:%M',), ())
    >>> date_formats(["01/02/11"])
    ('%d/%m/%y', '%m/%d/%y')
    """
    some = [cell.strip() for cell in cells if cell.strip()][:_MOST_LOOKED_AT]
    unusual = [cell for cell in some if not _USUAL_DATE.fullmatch(cell)]
    if len(unusual) <= len(some) / 2:
        return ()
    if all(re.fullmatch(r"1\d{9}", cell) for cell in unusual):
        return (FORMAT_SECONDS,)
    if all(re.fullmatch(r"1\d{12}", cell) for cell in unusual):
        return (FORMAT_MILLISECONDS,)
    for written in (f"{day}{clock}" for day in _DAYS for clock in _CLOCKS):
        share = sum(_is(cell, written) for cell in unusual) / len(unusual)
        if share >= _MOST_OF:
            swapped = _swapped(written)
            # The rare cell that is no date must not decide which comes first.
            others = sum(_is(cell, swapped) for cell in unusual) / len(unusual) if swapped else 0
            return (written, swapped) if swapped and others >= share else (written,)
    return ()


def _swapped(written: str) -> str | None:
    """The format with day and month the other way; None if no number of a day can be one of a month."""
    for first, second in (("%d/%m", "%m/%d"), ("%d-%m", "%m-%d")):
        if written.startswith(f"{first}{first[2]}%y"):
            return written.replace(first, second, 1)
    return None


def _is(cell: str, written: str) -> bool:
    with suppress(ValueError):
        return 1970 <= datetime.strptime(cell, written).year <= 2100
    return False


def order_is_open(cells: Iterable[str]) -> bool:
    """Whether some dates could have the day or the month first, and none tells which."""
    pairs = [(int(found[1]), int(found[2])) for cell in cells if (found := _NUMBERED.match(cell))]
    return any(first != second for first, second in pairs) and not any(max(pair) > 12 for pair in pairs)


def mark_is_open(cells: Iterable[str]) -> bool:
    """Whether some numbers could have a decimal mark or one between thousands, and none tells which.

    >>> mark_is_open(["1.234", "2.500"]), mark_is_open(["1.234", "2.55"])
    (True, False)
    """
    marked = [cell for cell in cells if _MARKED.search(cell)]
    return bool(marked) and all(_EITHER_MARK.fullmatch(cell) for cell in marked)


def have_clock(cells: Iterable[str]) -> bool:
    """Whether some dates have a time of day."""
    return any(":" in cell for cell in cells)


def have_offset(cells: Iterable[str]) -> bool:
    """Whether the times say how far they are from UTC."""
    some = [cell for cell in cells if cell.strip()]
    return bool(some) and sum(_OFFSET.search(cell) is not None for cell in some) > len(some) / 2


def currency_sign(cells: Iterable[str]) -> str | None:
    """The currency sign that the prices carry; None without one, or with several."""
    signs = {found[0] for cell in cells if (found := _SIGN.search(cell))}
    return signs.pop() if len(signs) == 1 else None


def are_fractions(cells: Iterable[str]) -> bool:
    """Whether some quantities are no whole numbers.

    >>> are_fractions(["1", "0.25"]), are_fractions(["1.0", "2"])
    (True, False)
    """
    return any(re.fullmatch(r"\s*-?\d*[.,]\d*[1-9]\d*\s*", cell) is not None for cell in cells)
