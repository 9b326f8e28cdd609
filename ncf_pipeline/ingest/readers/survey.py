"""Reads all of a file, and decides how it writes dates, numbers and codes; what stays open is refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.given import DateOrder, DecimalMark, Given
from ncf_pipeline.ingest.mappings.mapping import plain_name
from ncf_pipeline.ingest.mappings.ready_made import ready
from ncf_pipeline.ingest.readers.clock import is_formatted
from ncf_pipeline.ingest.readers.codes import LOOK_ALIKES
from ncf_pipeline.ingest.readers.conversions import without_sign
from ncf_pipeline.ingest.readers.dialect import THOUSANDS_MARK
from ncf_pipeline.ingest.readers.header import CURRENCY, STATUS, header_name, shortened
from ncf_pipeline.ingest.readers.table import ROW, Table

_NUMBERED = r"^\s*(?<first>\d{1,2})[/-](?<second>\d{1,2})[/-]\d{4}(?:\D|$)"
_SPREADSHEETS_DAY = r"^\d{4}-\d{2}-(\d{2})(?:[ T]|$)"

# M is the decimal mark, and T the mark between thousands.
_PROOF = "^(?:0[0-9]*M[0-9]+|[0-9]*M[0-9]{1,2}|[0-9]*M[0-9]{4,}|[0-9]{4,}M[0-9]+|M[0-9]+|[0-9]+M[0-9]+[eE].*"
_PROOF += "|[0-9]{1,3}(?:T[0-9]{3}){2,}|[0-9]{1,3}(?:T[0-9]{3})+M[0-9]*)$"
_PROVES: dict[DecimalMark, str] = {
    mark: _PROOF.replace("M", f"[{mark}]").replace("T", f"[{other}]") for mark, other in THOUSANDS_MARK.items()
}
_EITHER_MARK = r"^[1-9]\d{0,2}[.,]\d{3}$"
_NUMBER_CELL = r"^(?:0|[1-9]\d*)(?:\.\d*[1-9])?$"
"""What a number of a workbook looks like as text; a text may look so, too."""

_MOST_DISPUTED = 1 / 3
"""Above this share of numbers that prove the rarer mark, a file is two files in one, and is refused."""

_UNUSUAL_CODE = r"^\s*\d[\d.,]*(?:[.eE]|\d{15})"
_LOST_DIGITS = r"^[+-]?\d(?:[.,]\d+)?[eE]\+\d{2,}$"
_LONG = r"^\d{16,}$"
_ROUNDED = r"^(?:\d{15}0+|\d{17}0+)$"
"""A spreadsheet keeps 15 digits; a program that writes one may keep 17."""

_FLOAT = r"^\d+\.0{1,2}$"
_FRACTION = r"^\d+\.\d*[1-9]\d*$"
_MOST_TWINS = 10_000
_NUMBERS = (InvoiceLines.UNIT_PRICE, InvoiceLines.QUANTITY)
_CODES = (InvoiceLines.INVOICE_NO, InvoiceLines.STOCK_CODE)


@dataclass(frozen=True)
class _Seen:
    """A cell that says something of its file."""

    where: str
    row: int
    column: str
    text: str

    def __str__(self) -> str:
        return f"row {self.row:,} has {shortened(self.text, 40)}"


@dataclass
class _DateShapes:
    """Whether a month below 10 is padded: in dates that prove an order, and, by order, in those with two readings."""

    proofs: set[bool] = field(default_factory=set)
    ambiguous: dict[DateOrder, set[bool]] = field(default_factory=lambda: {"day first": set(), "month first": set()})


@dataclass
class _Evidence:
    """What the cells that were looked at say."""

    orders: dict[DateOrder, _Seen] = field(default_factory=dict)
    two_readings: list[_Seen] = field(default_factory=list)
    shapes: _DateShapes = field(default_factory=_DateShapes)
    marks: dict[DecimalMark, int] = field(default_factory=lambda: {".": 0, ",": 0})
    mark_seen: dict[DecimalMark, _Seen] = field(default_factory=dict)
    either_mark: list[_Seen] = field(default_factory=list)
    texts: set[tuple[str, str]] = field(default_factory=set)
    maybe_texts: set[tuple[str, str]] = field(default_factory=set)
    points: set[tuple[str, str]] = field(default_factory=set)
    floats: set[str] = field(default_factory=set)
    fractions: set[str] = field(default_factory=set)
    rounded: dict[str, _Seen] = field(default_factory=dict)
    exact: set[str] = field(default_factory=set)
    look_alikes: dict[str, _Seen] = field(default_factory=dict)
    latin: set[str] = field(default_factory=set)
    leading_zeros: dict[str, _Seen] = field(default_factory=dict)
    words: dict[str, set[str]] = field(default_factory=lambda: {STATUS: set(), CURRENCY: set()})


def decided(tables: Sequence[Table], given: Given) -> list[Table]:
    """The same tables, with the dialect of each. A file has one order of dates and one decimal mark.

    Args:
        tables: of one file.
        given: what a person says of the source; the rest is decided from all cells.

    Raises:
        InputError: cells contradict each other, or leave open how to read others, or have lost digits. The message
            has the rows.
    """
    evidence = _evidence_of(tables)
    if evidence.texts or evidence.maybe_texts - evidence.points:
        # A number of a workbook has a point, whatever the mark in the texts beside it is.
        tables = [table.with_numbers_known() if table.with_numbers_known else table for table in tables]
        evidence = _evidence_of(tables)
    _check_digits(evidence)
    order = _given_order(evidence, given.date_order) if given.date_order else _order_of(evidence)
    if order is not None:
        for table in tables:
            _check_no_swap(table, order)
    mark, disputed = _given_mark(evidence, given.decimal_mark) if given.decimal_mark else _mark_of(evidence)
    warnings = tuple(_warnings(tables, evidence))
    said = [f"{name}: {seen.where} {seen}" for name, seen in evidence.orders.items()]
    if mark in evidence.mark_seen:
        said.append(f"decimal mark {mark} : {evidence.mark_seen[mark].where} {evidence.mark_seen[mark]}")
    return [
        replace(
            table,
            dialect=replace(
                table.dialect,
                date_order=order,
                decimal_mark=mark,
                marks_disputed=disputed,
                float_codes=frozenset(evidence.floats - evidence.fractions),
                evidence=tuple(said),
                warnings=(*table.dialect.warnings, *warnings),
            ),
        )
        for table in tables
    ]


def _evidence_of(tables: Sequence[Table]) -> _Evidence:
    evidence = _Evidence()
    for table in tables:
        for chunk in _readable_chunks(table):
            _look_at_dates(chunk, table, evidence)
            _look_at_numbers(chunk, table, evidence)
            _look_at_codes(chunk, table, evidence)
            for name, words in evidence.words.items():
                if name in chunk.columns:
                    words.update(plain_name(word) for word in chunk[name].drop_nulls().unique())
    return evidence


def _readable_chunks(table: Table) -> Iterator[pl.DataFrame]:
    """The chunks, without what a mapping reads by itself: its currency sign, and dates in its formats."""
    reading = table.dialect.reading
    for chunk in table.chunks():
        if reading is None:
            yield chunk
            continue
        formats = reading.mapping.date_formats
        date = pl.col(InvoiceLines.INVOICE_DATE)
        read = chunk if not formats else chunk.with_columns(
            pl.when(~is_formatted(chunk[InvoiceLines.INVOICE_DATE], formats)).then(date)
        )  # fmt: skip
        yield without_sign(read, reading.mapping)


def _look_at_dates(chunk: pl.DataFrame, table: Table, evidence: _Evidence) -> None:
    """25/12/2011 has the day first and 12/25/2011 the month; 05/05/2011 is the same day either way."""
    column = InvoiceLines.INVOICE_DATE
    # Only a date that begins like these has an order; most files have none.
    dates = chunk.select(ROW, column).filter(pl.col(column).str.contains(r"^\s*\d{1,2}[/-]"))
    if dates.is_empty():
        return
    parts = dates.with_columns(pl.col(column).str.extract_groups(_NUMBERED).struct.unnest()).with_columns(
        pl.col("first", "second").cast(pl.Int64, strict=False).name.suffix("_number")
    )
    first, second = pl.col("first_number"), pl.col("second_number")
    parts = parts.with_columns(
        pl.when(first.is_between(13, 31) & second.is_between(1, 12))
        .then(pl.lit("day first"))
        .when(second.is_between(13, 31) & first.is_between(1, 12))
        .then(pl.lit("month first"))
        .when(first.is_between(1, 12) & second.is_between(1, 12) & (first != second))
        .then(pl.lit("either"))
        .alias("says"),
        pl.when(first < 10).then(pl.col("first").str.starts_with("0")).alias("month first"),
        pl.when(second < 10).then(pl.col("second").str.starts_with("0")).alias("day first"),
    ).drop_nulls("says")
    for order in _ORDERS:
        proofs = parts.filter(says=order)
        if order not in evidence.orders:
            for seen in _seen(proofs, table, column, 1):
                evidence.orders[order] = seen
        evidence.shapes.proofs |= set(proofs[order].unique()) - {None}
    either = parts.filter(says="either")
    evidence.two_readings += _seen(either, table, column, 2 - len(evidence.two_readings))
    for order in _ORDERS:
        evidence.shapes.ambiguous[order] |= set(either[order].unique()) - {None}


_ORDERS: tuple[DateOrder, ...] = ("day first", "month first")


def _order_of(evidence: _Evidence) -> DateOrder | None:
    if len(evidence.orders) > 1:
        day, month = evidence.orders["day first"], evidence.orders["month first"]
        raise InputError(
            f"{day.where} mixes two ways to write dates: {day} (the day is first), and "
            f"{'' if month.where == day.where else f'{month.where} '}{month} (the month is first). "
            "Write all of them as 2011-12-25."
        )
    if evidence.orders:
        ((order, proof),) = evidence.orders.items()
        proofs, ambiguous = evidence.shapes.proofs, evidence.shapes.ambiguous[order]
        if len(proofs) == len(ambiguous) == 1 and proofs != ambiguous:
            unlike = evidence.two_readings[0]
            raise InputError(
                f"{proof.where} writes dates in two ways: {proof}, but {unlike}. It was probably opened and saved in "
                "another country's Excel, which swaps the day and the month where it can. Export the file again."
            )
        return order
    if evidence.two_readings:
        open_ = evidence.two_readings
        rows = " and ".join(f"row {seen.row:,}: {shortened(seen.text, 40)}" for seen in open_)
        raise InputError(
            f"{open_[0].where} {rows} could have the day or the month first, and no other date in the file tells "
            "which. Write dates as 2011-12-25."
        )
    return None


def _given_order(evidence: _Evidence, order: DateOrder) -> DateOrder:
    """The order that is given for a file, unless its dates prove the other one."""
    for proven, seen in evidence.orders.items():
        if proven != order:
            raise InputError(
                f"{seen.where} {seen}, so the {proven.partition(' ')[0]} is first, but {order} is given for it. "
                "Correct that, or the file."
            )
    return order


def _check_no_swap(table: Table, order: DateOrder) -> None:
    """A spreadsheet of another country reads 01/02/2011 as its own date, and leaves 13/02/2011 as text.

    Raises:
        InputError: no real date of a sheet has a day above 12, and all its text dates prove an order.
    """
    if table.dialect.epoch is None:
        return
    last_day, real, text = 0, None, None
    for chunk in table.chunks():
        dates = chunk.select(ROW, InvoiceLines.INVOICE_DATE)
        column = pl.col(InvoiceLines.INVOICE_DATE)
        days = dates.select(column.str.extract(_SPREADSHEETS_DAY).cast(pl.Int64, strict=False)).to_series()
        if (highest := days.max()) is not None:
            last_day = max(last_day, int(highest))  # type: ignore[arg-type]
            real = real or next(_seen(dates.filter(days.is_not_null()), table, InvoiceLines.INVOICE_DATE, 1))
        numbers = dates.select(column.str.extract_groups(_NUMBERED).struct.unnest().cast(pl.Int64, strict=False))
        if numbers.select(((pl.col("first") <= 12) & (pl.col("second") <= 12)).any()).item():
            return
        proofs = dates.filter(numbers["first"].is_not_null())
        text = text or next(_seen(proofs, table, InvoiceLines.INVOICE_DATE, 1), None)
    if real is not None and text is not None and last_day <= 12:
        raise InputError(
            f"{table.where} was opened in another country's Excel: {text} as text ({order}), and no real date has a "
            f"day above 12 ({real}). The day and the month of the real dates are probably swapped. Export the file "
            "again, or write all dates as 2011-12-25."
        )


def _look_at_numbers(chunk: pl.DataFrame, table: Table, evidence: _Evidence) -> None:
    for column in _NUMBERS:
        if column in table.dialect.plain_numbers:
            continue
        # Few different prices occur, so each is looked at once.
        cells = chunk.select(pl.col(column).value_counts()).unnest(column).filter(pl.col(column).str.contains(r"[.,]"))
        cells = cells.with_columns(pl.col(column).str.replace(r"^\s*[+-]?", "").str.strip_chars_end().alias("number"))
        number = pl.col("number")
        if table.with_numbers_known is not None:
            place = (table.where, column)
            for places, found in (
                (evidence.texts, ~number.str.contains(_NUMBER_CELL)),
                (evidence.maybe_texts, number.str.contains(_EITHER_MARK)),
                (evidence.points, number.str.contains(_PROVES["."])),
            ):
                if cells.select(found.any()).item():
                    places.add(place)
        for mark in THOUSANDS_MARK:
            proofs = cells.filter(number.str.contains(_PROVES[mark]))
            evidence.marks[mark] += int(proofs["count"].sum())
            if len(proofs) and mark not in evidence.mark_seen:
                lines = chunk.filter(pl.col(column).is_in(proofs[column].implode()))
                (evidence.mark_seen[mark],) = _seen(lines, table, column, 1)
        wanted = 2 - len(evidence.either_mark)
        open_ = cells.filter(number.str.contains(_EITHER_MARK)) if wanted else cells.clear()
        if len(open_):
            evidence.either_mark += _seen(
                chunk.filter(pl.col(column).is_in(open_[column].implode())), table, column, wanted
            )


def _given_mark(evidence: _Evidence, mark: DecimalMark) -> tuple[DecimalMark, bool]:
    """The decimal mark that is given for a file, unless its numbers prove the other one."""
    other = THOUSANDS_MARK[mark]
    if evidence.marks[other] > evidence.marks[mark]:
        seen = evidence.mark_seen[other]
        raise InputError(
            f"{seen.where} {seen}, so its decimal mark is {other} but {mark} is given for it. "
            "Correct that, or the file."
        )
    return mark, bool(evidence.marks[other])


def _mark_of(evidence: _Evidence) -> tuple[DecimalMark, bool]:
    """The decimal mark, and whether some numbers prove the other one."""
    point, comma = evidence.marks["."], evidence.marks[","]
    if not point and not comma:
        if evidence.either_mark:
            rows = " and ".join(
                f"row {seen.row:,}, {header_name(seen.column)}: {shortened(seen.text, 40)}"
                for seen in evidence.either_mark
            )
            digits = evidence.either_mark[0].text.strip().lstrip("+-").replace(",", ".")
            raise InputError(
                f"{evidence.either_mark[0].where} {rows} could be {digits} or {digits.replace('.', '')}, and no other "
                "number in the file tells which. Write numbers without marks between thousands, and with two decimals."
            )
        return ".", False
    if min(point, comma) > _MOST_DISPUTED * (point + comma):
        one, other = evidence.mark_seen["."], evidence.mark_seen[","]
        raise InputError(
            f"{one.where} mixes two ways to write numbers: {one}, and "
            f"{'' if other.where == one.where else f'{other.where} '}{other}. Use one decimal mark."
        )
    return ("." if point >= comma else ","), bool(point and comma)


def _look_at_codes(chunk: pl.DataFrame, table: Table, evidence: _Evidence) -> None:
    _look_for_twins(chunk, table, evidence)
    for column in (*_CODES, InvoiceLines.CUSTOMER_ID):
        code = pl.col(column).str.strip_chars()
        cells = chunk.select(ROW, column).filter(pl.col(column).str.contains(_UNUSUAL_CODE))
        if cells.is_empty():
            continue
        if table.with_numbers_known is not None and cells[column].str.contains(_LONG).any():
            evidence.texts.add((table.where, column))
        found = cells.select(
            floats=code.str.contains(_FLOAT).any(),
            fractions=code.str.contains(_FRACTION).any(),
            exact=(code.str.contains(_LONG) & ~code.str.contains(_ROUNDED)).any(),
        ).row(0, named=True)
        for name, columns in (
            ("floats", evidence.floats), ("fractions", evidence.fractions), ("exact", evidence.exact),
        ):  # fmt: skip
            if found[name]:
                columns.add(column)
        if column in _CODES:  # a customer who has lost digits is found line by line
            lost = cells.filter(code.str.contains(_LOST_DIGITS))
            for seen in _seen(lost, table, column, 1):
                raise InputError(
                    f"{table.where} row {seen.row:,}, {header_name(column)}: {shortened(seen.text, 40)} has lost "
                    "digits, because it was saved as a number. Export the file again, with the column as text."
                )
        if column not in evidence.rounded:
            rounded = cells.filter(code.str.contains(_ROUNDED))
            for seen in _seen(rounded, table, column, 1):
                evidence.rounded[column] = seen


def _look_for_twins(chunk: pl.DataFrame, table: Table, evidence: _Evidence) -> None:
    """Stock codes that a person may take for another one: with letters that look alike, and with zeros in front."""
    column = InvoiceLines.STOCK_CODE
    code = pl.col(column).str.strip_chars()
    if column not in evidence.latin and chunk[column].str.contains("[A-Za-z]").any():
        evidence.latin.add(column)
    if column not in evidence.look_alikes:
        alike = chunk.filter(
            code.str.contains(f"[{LOOK_ALIKES}]") & code.str.contains(f"^[{LOOK_ALIKES}\\x00-\\x7f]+$")
        )
        for seen in _seen(alike, table, column, 1):
            evidence.look_alikes[column] = seen
    room = _MOST_TWINS - len(evidence.leading_zeros)
    zeros = chunk.filter(code.str.contains(r"^0+[1-9]\d*$")).unique(column, maintain_order=True)
    for seen in _seen(zeros, table, column, room):
        evidence.leading_zeros.setdefault(seen.text.lstrip("0"), seen)


def _warnings(tables: Sequence[Table], evidence: _Evidence) -> Iterator[str]:
    yield from _words_without_lines(tables, evidence)
    for column, seen in evidence.look_alikes.items():
        if column in evidence.latin:
            yield (
                f"row {seen.row:,}, {header_name(column)}: {shortened(seen.text, 40)} has letters of another alphabet "
                "that look like Latin ones, so it is a product of its own"
            )
    if not evidence.leading_zeros:
        return
    column = InvoiceLines.STOCK_CODE
    for table in tables:
        for chunk in table.chunks():
            twins = chunk.filter(pl.col(column).str.strip_chars().is_in([*evidence.leading_zeros]))
            for twin in _seen(twins, table, column, 1):
                seen = evidence.leading_zeros[twin.text]
                yield (
                    f"row {seen.row:,}, {header_name(column)}: {shortened(seen.text, 40)} and row {twin.row:,}: "
                    f"{shortened(twin.text, 40)} are two products; did a spreadsheet take zeros off"
                )
                return


def _words_without_lines(tables: Sequence[Table], evidence: _Evidence) -> Iterator[str]:
    """Statuses and currencies that a person has put into a mapping, and that no line of the file has."""
    readings = [table.dialect.reading for table in tables if table.dialect.reading is not None]
    if not readings:
        return
    mapping = readings[0].mapping
    known = ready().get(mapping.name)
    if known is not None and known.sha256 == mapping.sha256:
        return  # it names all that there are
    status, currency = mapping.status, mapping.currency
    said = {
        STATUS: (*status.counts, *status.takes_back, *status.left_out) if status else (),
        CURRENCY: tuple(currency.rates) if currency else (),
    }
    for name, words in said.items():
        in_file = evidence.words[name]
        unseen = [word for word in words if plain_name(word) not in in_file]
        if unseen and in_file:
            shown = shortened(", ".join(unseen), 100)
            yield f"no line has the {name} {shown}, which the mapping {mapping.name} names"


def _check_digits(evidence: _Evidence) -> None:
    """Refuses codes of 16 digits or more if each has zeros after the 15th: a spreadsheet keeps no more digits."""
    for column, seen in evidence.rounded.items():
        if column not in evidence.exact:
            raise InputError(
                f"{seen.where} row {seen.row:,}, {header_name(column)}: {shortened(seen.text, 40)} has lost digits, "
                "because a spreadsheet keeps 15 digits of a number. Export the file again, with the column as text."
            )


def _seen(lines: pl.DataFrame, table: Table, column: str, most: int) -> Iterator[_Seen]:
    for row, text in lines.select(ROW, column).head(max(most, 0)).iter_rows():
        yield _Seen(table.where, row, column, text.strip())
