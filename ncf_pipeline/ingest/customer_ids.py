"""Which customers a cell or a text names. An id may be any text, so context decides whether a text names it.

`17850` is found in `customer 17850 rang up`, and not in `117850`; `anna@example.com` is not found in
`joanna@example.com`.
"""

import html
import re

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.readers.cells import MAX_CUSTOMER
from ncf_pipeline.ingest.readers.codes import normalised
from ncf_pipeline.privacy import masked, without_zeros

OTHER_CELLS = frozenset(InvoiceLines.ALL) - {InvoiceLines.CUSTOMER_ID}
"""Cells of an invoice line in which the same text means something else."""

_NOT_AFTER = "".join(rf"(?<!{name} )" for name in sorted((*OTHER_CELLS, "row")))
_BETWEEN_CELLS = re.compile(r"[,;\t|]")
_BETWEEN_WORDS = re.compile(r"[\s,;|:()<>\[\]\"']+")
_FLOAT = re.compile(r"\+?([0-9]+)(?:\.0*)?")
_UNUSUAL = re.compile(r"^\s*[='\"]|[^\x00-\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHORT = 5


def is_telling(customer_id: str) -> bool:
    """Whether an id is so unusual as a word that it names the customer wherever it is written.

    >>> [is_telling(each) for each in ("17850", "C-1001", "anna@example.com", "7", "2011", "guest", "France")]
    [True, True, True, False, False, False, False]
    """
    return "@" in customer_id or (len(customer_id) >= _SHORT and any(each.isdigit() for each in customer_id))


def pattern(customer_id: str, *, written: bool) -> re.Pattern[str]:
    """A regular expression that finds an id where it is not part of a longer word or number.

    Args:
        customer_id: to find.
        written: whether people wrote the text, in any format: then case does not count, nor do zeros before a number.
            Text by this program is matched more strictly. In `1,234`, `5.678`, `row 9` and `quantity 9` it finds no id,
            and it never finds an id that may be an ordinary word or number: see `is_telling`.
    """
    number = customer_id.isascii() and customer_id.isdigit()
    if not written:
        if not is_telling(customer_id):
            return re.compile(r"(?!)")
        if number:
            return re.compile(rf"(?<![0-9A-Za-z])(?<![0-9][.,]){_NOT_AFTER}{customer_id}(?![0-9A-Za-z]|[.,][0-9])")
        return re.compile(_NOT_AFTER + _alone(customer_id))
    zeros = "0*" if number and not customer_id.startswith("0") else ""
    return re.compile(_alone(customer_id, zeros), re.IGNORECASE)


def mask(text: str, customer_id: str, *, written: bool) -> str:
    """The text with the id masked.

    Args:
        text: that may contain the id.
        customer_id: to mask.
        written: whether people wrote the text; see `pattern`.

    >>> mask("customer 14646 called about row 14646", "14646", written=False)
    'customer ***46 called about row 14646'
    """
    return pattern(customer_id, written=written).sub(lambda _: masked(customer_id), text)


def _alone(customer_id: str, zeros: str = "") -> str:
    """The id, or the same in a page's HTML, without a letter or digit before or after it."""
    escaped = html.escape(customer_id)
    spellings = {customer_id, escaped, escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")}
    only_marks = not any(each.isalnum() for each in customer_id)
    before, after = (_beside(end, only_marks=only_marks) for end in (customer_id[0], customer_id[-1]))
    # The part of an address before @ may have these between its words.
    joined = r"(?<![0-9A-Za-z][.+_%-])" if "@" in customer_id else ""
    either = "|".join(re.escape(each) for each in sorted(spellings, key=len, reverse=True))
    return rf"(?<!{before}){joined}{zeros}(?:{either})(?!{after})"


def _beside(end: str, *, only_marks: bool) -> str:
    """What must not be beside an id that begins or ends with this character."""
    if only_marks:
        return r"[^\s,;|:=()<>\"']"
    if not end.isalnum():
        return r"[^\s\S]"  # anything may
    return "[0-9A-Za-z]" if end.isascii() else r"[^\W_]"


def fragment(customer_id: str) -> str:
    """A pattern for Postgres' `ilike` that matches at least whatever `pattern` matches, also in the text of JSON."""
    parts = re.findall("[0-9A-Za-z]+", without_zeros(customer_id))
    return f"%{max(parts, key=len)}%" if parts else "%"


def customers_in_cell(cell: object) -> set[str]:
    """The ids that a customer cell may hold, as its file wrote it: all of it, or a telling word of it.

    >>> sorted(customers_in_cell("14646.0")), sorted(customers_in_cell("14646 (Anna)"))
    (['14646'], ['14646', '14646 (Anna)'])
    """
    text = str(cell)
    words = {spelled(word) for word in _BETWEEN_WORDS.split(text)}
    return {spelled(text), *filter(is_telling, words)} - {""}


def is_in_cell(customer_id: str, cell: object) -> bool:
    """Whether a customer cell names the customer, in any spelling.

    >>> [is_in_cell("14646", each) for each in (14646, "014646.0", "no. 14646", "C-14646")]
    [True, True, True, False]
    """
    return any(customer_id in (each, without_zeros(each)) for each in customers_in_cell(cell))


def customers_in_line(line: str) -> set[str]:
    """The ids that a line may hold which could not be divided into cells."""
    cells = _BETWEEN_CELLS.split(line)
    unquoted = (each.strip().removeprefix('"').removesuffix('"').replace('""', '"') for each in cells)
    return {spelled(each) for each in (*cells, *unquoted, *_BETWEEN_WORDS.split(line))} - {""}


def is_possible(customer_id: str) -> bool:
    """Whether ingest may have stored an id: it has 1 to 254 characters, and no control character among them."""
    return 0 < len(customer_id) <= MAX_CUSTOMER and _CONTROL.search(customer_id) is None


def spelled(text: str) -> str:
    r"""An id in the spelling in which it is stored.

    >>> spelled(" 17850.0"), spelled("1785\uff10\u200b"), spelled("a\u00a0b")
    ('17850', '17850', 'a b')
    """
    if _UNUSUAL.search(text):
        text = normalised(pl.Series([text.strip()], dtype=pl.String)).item() or ""
    text = text.strip()
    number = _FLOAT.fullmatch(text)
    return number[1] if number else text
