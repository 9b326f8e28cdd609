"""How a file writes dates, numbers and text: what is decided for one table."""

from dataclasses import dataclass
from datetime import date

from ncf_pipeline.ingest.mappings.given import DateOrder, DecimalMark
from ncf_pipeline.ingest.mappings.mapping import Mapping

THOUSANDS_MARK: dict[DecimalMark, DecimalMark] = {".": ",", ",": "."}
"""The mark between thousands, by the decimal mark."""

EPOCH_1900 = date(1899, 12, 30)
EPOCH_1904 = date(1904, 1, 1)
"""Day 0 of a spreadsheet's count of days, in its two ways of counting."""


@dataclass(frozen=True)
class Reading:
    """What a mapping says of the cells of one table.

    Attributes:
        mapping: as a person wrote it.
        shop_timezone: the shop's clock, an IANA name.
        price_is_total: whether the price is that of the whole line.
        status_name: what the file calls the column with the status.
        cancelled_name: what it calls the column that is filled where an order was cancelled.
    """

    mapping: Mapping
    shop_timezone: str
    price_is_total: bool = False
    status_name: str = "status"
    cancelled_name: str = "cancelled"


@dataclass(frozen=True)
class Dialect:
    """How one table writes its cells.

    Attributes:
        date_order: how to read 01/02/2011; None if the table has no such date.
        decimal_mark: of numbers in text; the other mark stands between thousands.
        marks_disputed: whether some numbers prove the other mark. A number that both marks can read is unreadable then.
        plain_numbers: columns whose cells were numbers in the file: they have a point, whatever the decimal mark is.
        float_codes: columns of codes in which 71053.0 stands for 71053.
        epoch: day 0 of a count of days in the date column; None if a number there is no date.
        evidence: what in the file proves it, for people.
        warnings: what looks wrong in the file, but is read as it is.
        reading: what a mapping says; None if the columns are ours.
        fractions_are_corrections: whether a corrected line may have a fraction of a piece, because the shop has a
            mapping that says so. A corrected line has our columns, whatever those of its file are.
    """

    date_order: DateOrder | None = None
    decimal_mark: DecimalMark = "."
    marks_disputed: bool = False
    plain_numbers: frozenset[str] = frozenset()
    float_codes: frozenset[str] = frozenset()
    epoch: date | None = None
    evidence: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reading: Reading | None = None
    fractions_are_corrections: bool = False
