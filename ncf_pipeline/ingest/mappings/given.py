"""What a person says of a source's files in general."""

from dataclasses import dataclass
from typing import Literal

DateOrder = Literal["day first", "month first"]
DecimalMark = Literal[".", ","]


@dataclass(frozen=True)
class Given:
    """What a person says of a source. What is None here, a file decides by itself, as a whole.

    Attributes:
        encoding: name of the encoding of its text files.
        delimiter: the character between cells of its text files.
        date_order: how to read 01/02/2011.
        decimal_mark: how to read 1.234.
        sheets: the sheets of a workbook to read, hidden or not; None for every visible sheet with the columns.
    """

    encoding: str | None = None
    delimiter: str | None = None
    date_order: DateOrder | None = None
    decimal_mark: DecimalMark | None = None
    sheets: tuple[str, ...] | None = None
