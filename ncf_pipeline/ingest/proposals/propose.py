"""The mapping that a sample suggests, and the questions that the sample leaves open."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.mappings.mapping import Mapping, ZoneColumn, plain_name
from ncf_pipeline.ingest.mappings.ready_made import ready
from ncf_pipeline.ingest.proposals.looks import (
    Looks,
    are_fractions,
    currency_sign,
    date_formats,
    have_clock,
    have_offset,
    looks_of,
    mark_is_open,
    order_is_open,
)
from ncf_pipeline.ingest.proposals.names import (
    CURRENCY,
    RETURNED,
    STATUS,
    TIME,
    TIME_ZONE,
    TOTAL,
    fate_of,
    name_score,
)
from ncf_pipeline.ingest.proposals.sample import Sample

OPTIONAL = (InvoiceLines.DESCRIPTION, InvoiceLines.COUNTRY)
"""Columns that a file may lack."""

_BESIDE = (TIME, TOTAL, STATUS, CURRENCY, TIME_ZONE, RETURNED)
_LEAST = 0.3
_FEW = 40
_FILLED_DOWN = 0.8
"""Share of the invoices with several lines in which only the first line has the cell, from which it is filled down."""

_MERGED = 0.1
"""Share of the lines without a number, from which on an invoice has its number on the first line only."""

_FATES = ("counts", "takes_back", "left_out")


@dataclass
class Proposal:
    """The mapping that a sample suggests, as YAML has it, and what the sample does not say.

    Attributes:
        sample: that it is of.
        columns: our column to what `columns` of a mapping says.
        by_looks: our columns that were found by what their cells look like, and not by their name.
        beside: what is not a column of ours (see `names`), to the file's column.
        statuses: each status with how often it occurs; the most frequent first.
        said: the other keys of the mapping.
    """

    sample: Sample
    columns: dict[str, Any]
    by_looks: frozenset[str] = frozenset()
    beside: dict[str, str] = field(default_factory=dict)
    statuses: tuple[tuple[str, int], ...] = ()
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Our columns that every file needs, and that none was found for."""
        return [name for name in InvoiceLines.ALL if name not in self.columns and name not in OPTIONAL]

    def cells(self, column: str) -> list[str]:
        """The cells of the sample in one of our columns."""
        sources = sources_of(self.columns.get(column))
        if not sources:
            return []
        rows = zip(*(self.sample.cells(name) for name in sources if name in self.sample.names), strict=True)
        if isinstance(self.columns[column], dict) and "join" in self.columns[column]:
            return [" ".join(filter(None, cells)) for cells in rows]
        return [next(filter(None, cells), "") for cells in rows]

    def as_mapping(self, name: str) -> dict[str, Any]:
        """What the YAML of the mapping says."""
        ours = {column: self.columns[column] for column in InvoiceLines.ALL if column in self.columns}
        return {"name": name, "columns": ours, **{key: value for key, value in self.said.items() if value is not None}}


def like(sample: Sample, mapping: Mapping) -> Proposal:
    """What a mapping that there is already says of a sample, to be changed."""
    said = mapping.model_dump(mode="json", exclude_defaults=True)
    status = said["status"]["column"] if "status" in said else None
    column = status if isinstance(status, str | None) else next((each for each in status if each in sample.names), None)
    return Proposal(
        sample,
        columns={name: _present(column, sample) for name, column in said.pop("columns").items()},
        beside={STATUS: column} if column in sample.names else {},
        said={key: value for key, value in said.items() if key != "name"},
    )


def _present(column: Any, sample: Sample) -> Any:
    """A column of a mapping with the names that the sample has: those of other exports would only be in the way."""
    plain = {plain_name(name): name for name in sample.names}
    names = [column] if isinstance(column, str) else column
    if isinstance(names, list):
        found = list(dict.fromkeys(plain[plain_name(name)] for name in names if plain_name(name) in plain))
        return (found[0] if len(found) == 1 else found) if found else column
    return {key: _present(value, sample) if key != "constant" else value for key, value in column.items()}


def sources_of(column: Any) -> list[str]:
    """The file's columns that a mapping reads for one of ours."""
    if isinstance(column, str):
        return [column]
    if isinstance(column, list):
        return column
    if isinstance(column, dict):
        return [name for key in ("join", "price", "total") for name in sources_of(column.get(key))]
    return []


def proposed(sample: Sample) -> Proposal:
    """The mapping that a sample suggests.

    Each column is found by its name in one of four languages, else by what its cells look like.
    """
    names = [name for name in dict.fromkeys(sample.names) if name]
    looks = {name: looks_of(sample.cells(name)) for name in names}
    found = _by_name(names, looks)
    by_name = set(found)
    _add_by_looks(found, [name for name in names if name not in found.values()], looks)
    columns: dict[str, Any] = {name: found[name] for name in InvoiceLines.ALL if name in found}
    beside = {name: found[name] for name in _BESIDE if name in found}
    if InvoiceLines.DESCRIPTION in columns and InvoiceLines.STOCK_CODE not in columns:
        columns[InvoiceLines.STOCK_CODE] = columns[InvoiceLines.DESCRIPTION]
    elif InvoiceLines.DESCRIPTION in columns and looks[str(columns[InvoiceLines.STOCK_CODE])].filled < 1:
        columns[InvoiceLines.STOCK_CODE] = [columns[InvoiceLines.STOCK_CODE], columns[InvoiceLines.DESCRIPTION]]
    if InvoiceLines.UNIT_PRICE not in columns and TOTAL in beside:
        columns[InvoiceLines.UNIT_PRICE] = {"total": beside[TOTAL]}
    date = columns.get(InvoiceLines.INVOICE_DATE)
    if date and TIME in beside and not have_clock(sample.cells(date)):
        columns[InvoiceLines.INVOICE_DATE] = {"join": [date, beside[TIME]]}
    proposal = Proposal(
        sample,
        columns,
        by_looks=frozenset(name for name in columns if name in found and name not in by_name),
        beside=beside,
        statuses=looks[beside[STATUS]].values if STATUS in beside else (),
    )
    proposal.said |= dict(_plain_facts(proposal))
    return proposal


def _by_name(names: Sequence[str], looks: dict[str, Looks]) -> dict[str, str]:
    """The best pairs of what is asked for and a column, each column once."""
    pairs = sorted(
        (
            (name_score(name, asked) + 0.1 * _fit(asked, looks[name]), -at, asked, name)
            for at, name in enumerate(names)
            for asked in (*InvoiceLines.ALL, *_BESIDE)
            if name_score(name, asked) >= _LEAST and _fit(asked, looks[name]) > 0
        ),
        reverse=True,
    )
    found: dict[str, str] = {}
    for _, _, asked, name in pairs:
        if asked not in found and name not in found.values():
            found[asked] = name
    return found


def _fit(asked: str, looks: Looks) -> float:
    """How well cells fit what is asked for, from 0 to 1; an empty column fits everything a little."""
    if not looks.different:
        return 0.1
    fits = {
        InvoiceLines.INVOICE_NO: 1 - looks.written_dates,
        InvoiceLines.STOCK_CODE: 1 - max(looks.written_dates, looks.emails),
        InvoiceLines.DESCRIPTION: 1 - max(looks.dates, looks.numbers, looks.emails),
        InvoiceLines.QUANTITY: looks.numbers,
        InvoiceLines.INVOICE_DATE: looks.dates,
        InvoiceLines.UNIT_PRICE: looks.numbers,
        InvoiceLines.CUSTOMER_ID: 1 - looks.written_dates,
        InvoiceLines.COUNTRY: 1 - max(looks.dates, looks.numbers, looks.emails),
        TIME: looks.times,
        TOTAL: looks.numbers,
        STATUS: float(looks.different <= _FEW) * (1 - max(looks.dates, looks.emails)),
        CURRENCY: float(looks.different <= _FEW) * (1 - looks.numbers),
        TIME_ZONE: float(looks.different <= _FEW),
        RETURNED: looks.numbers,
    }
    return max(fits[asked], 0.0) if fits[asked] > 0.5 else 0.0


def _add_by_looks(found: dict[str, str], names: list[str], looks: dict[str, Looks]) -> None:
    """Adds columns that only one column of the file looks like."""

    def only(column: str, fitting: list[str]) -> None:
        if column not in found and len(fitting) == 1 and fitting[0] in names:
            found[column] = fitting[0]
            names.remove(fitting[0])

    only(InvoiceLines.INVOICE_DATE, [name for name in names if looks[name].written_dates > 0.9])
    only(InvoiceLines.CUSTOMER_ID, [name for name in names if looks[name].emails > 0.9])
    numbers = [name for name in names if looks[name].numbers > 0.9]
    only(InvoiceLines.UNIT_PRICE, [name for name in numbers if looks[name].cents > 0.5])
    only(
        InvoiceLines.QUANTITY,
        [name for name in numbers if name in names and looks[name].wholes > 0.9 and _are_small(looks[name])],
    )
    only(InvoiceLines.DESCRIPTION, [name for name in names if looks[name].words >= 2 and looks[name].numbers < 0.1])


def _are_small(looks: Looks) -> bool:
    return all(len(value.strip().lstrip("-").split(".")[0]) <= 3 for value, _ in looks.values)


def _plain_facts(proposal: Proposal) -> Iterator[tuple[str, Any]]:
    """What the sample says beyond doubt."""
    sample, beside = proposal.sample, proposal.beside
    if sample.sheet is not None:
        yield "sheets", None  # every visible sheet with the columns, as a rule
    dates = proposal.cells(InvoiceLines.INVOICE_DATE)
    if len(formats := date_formats(dates)) == 1:
        yield "date_formats", list(formats)
    if CURRENCY in beside and looks_of(sample.cells(beside[CURRENCY])).different > 1:
        yield "currency", {"column": beside[CURRENCY], "rates": {}}
    elif sign := currency_sign(proposal.cells(InvoiceLines.UNIT_PRICE)):
        yield "currency", {"sign": sign}
    if filled_down := _filled_down(proposal):
        yield "fill_down", filled_down
    if TIME_ZONE in beside:
        yield "time_zone", {"column": beside[TIME_ZONE], "names": _known_zones(sample.cells(beside[TIME_ZONE]))}
    if RETURNED in beside:
        yield "returns", {"column": beside[RETURNED]}
    if are_fractions(proposal.cells(InvoiceLines.QUANTITY)):
        yield "fractional_quantities", True


def _filled_down(proposal: Proposal) -> list[str]:
    """The columns of which only the first line of an invoice has a cell."""
    invoices = proposal.cells(InvoiceLines.INVOICE_NO)
    if not invoices:
        return []
    found = []
    if invoices[0] and invoices.count("") > _MERGED * len(invoices):
        found.append(InvoiceLines.INVOICE_NO)
        for at, cell in enumerate(invoices):
            invoices[at] = cell or invoices[at - 1]
    first_rows: dict[str, int] = {}
    others: dict[str, list[int]] = {}
    for at, invoice in enumerate(invoices):
        if invoice and first_rows.setdefault(invoice, at) != at:
            others.setdefault(invoice, []).append(at)
    sample, beside = proposal.sample, proposal.beside
    asked = {
        InvoiceLines.INVOICE_DATE: proposal.cells(InvoiceLines.INVOICE_DATE),
        InvoiceLines.CUSTOMER_ID: proposal.cells(InvoiceLines.CUSTOMER_ID),
        InvoiceLines.COUNTRY: proposal.cells(InvoiceLines.COUNTRY),
        **{name: sample.cells(beside[name]) for name in (STATUS, CURRENCY) if name in beside},
    }
    if not beside.get(CURRENCY) or looks_of(sample.cells(beside[CURRENCY])).different <= 1:
        asked.pop(CURRENCY, None)
    for name, cells in asked.items():
        known = [invoice for invoice in others if cells and cells[first_rows[invoice]]]
        alone = [invoice for invoice in known if not any(cells[at] for at in others[invoice])]
        if known and len(alone) >= _FILLED_DOWN * len(known):
            found.append(name)
    return found


@dataclass(frozen=True)
class Fates:
    """What becomes of the lines of each status, as far as the words tell."""

    counts: tuple[str, ...]
    takes_back: tuple[str, ...]
    left_out: tuple[str, ...]
    unknown: tuple[str, ...]


def fates_of(statuses: Sequence[tuple[str, int]]) -> Fates:
    """What the words of the statuses tell."""
    of = {status: fate_of(status) for status, _ in statuses}
    known = {fate: tuple(status for status in of if of[status] == fate) for fate in _FATES}
    return Fates(**known, unknown=tuple(status for status in of if of[status] is None))


def order_open(proposal: Proposal) -> tuple[str, ...]:
    """Two dates that could have the day or the month first, if the sample does not tell; none if it does."""
    cells = [cell for cell in proposal.cells(InvoiceLines.INVOICE_DATE) if cell]
    if "date_formats" in proposal.said or not (order_is_open(cells) or formats_open(proposal)):
        return ()
    return tuple(dict.fromkeys(cells))[:2]


def formats_open(proposal: Proposal) -> tuple[str, ...]:
    """The two formats of dates of which a person has to choose one: the day first, and the month first."""
    formats = date_formats(proposal.cells(InvoiceLines.INVOICE_DATE))
    return formats if len(formats) > 1 and "date_formats" not in proposal.said else ()


def mark_open(proposal: Proposal) -> tuple[str, ...]:
    """Two numbers that could have a decimal mark or one between thousands, if the sample does not tell."""
    cells = [*proposal.cells(InvoiceLines.UNIT_PRICE), *proposal.cells(InvoiceLines.QUANTITY)]
    return tuple(dict.fromkeys(cell for cell in cells if "." in cell or "," in cell))[:2] if mark_is_open(cells) else ()


def zone_open(proposal: Proposal) -> bool:
    """Whether the times have neither an offset nor a column with their time zone."""
    cells = proposal.cells(InvoiceLines.INVOICE_DATE)
    unusual = [str(each) for each in proposal.said.get("date_formats", [])]
    if any("%z" in each or "epoch" in each for each in unusual):
        return False
    return have_clock(cells) and not have_offset(cells) and TIME_ZONE not in proposal.beside


def zones_without_name(proposal: Proposal) -> list[str]:
    """What the column of the time zones holds that is neither an IANA name nor one that the proposal explains."""
    said = proposal.said.get("time_zone")
    if not isinstance(said, dict):
        return []
    names = [name for name in sources_of(said["column"]) if name in proposal.sample.names]
    cells = dict.fromkeys(cell for name in names for cell in proposal.sample.cells(name) if cell)
    return [cell for cell in cells if cell not in said.get("names", {}) and not is_zone(cell)]


def is_zone(name: str) -> bool:
    """Whether that is an IANA name of a time zone.

    >>> is_zone("Europe/London"), is_zone("Eastern")
    (True, False)
    """
    try:
        return bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def _known_zones(cells: Sequence[str]) -> dict[str, str]:
    """What shops in the United States call their zones."""
    square = ready()["square"].time_zone
    known = square.names if isinstance(square, ZoneColumn) else {}
    return {cell: known[cell] for cell in dict.fromkeys(cells) if cell in known}


def frequent_customers(proposal: Proposal) -> tuple[tuple[str, int], ...]:
    """Customers of so many invoices that they may be what guests look like; with the number of their invoices."""
    pairs = {
        (customer, invoice)
        for customer, invoice in zip(
            proposal.cells(InvoiceLines.CUSTOMER_ID), proposal.cells(InvoiceLines.INVOICE_NO), strict=False
        )
        if customer and invoice
    }
    counts = Counter(customer for customer, _ in pairs)
    invoices = len({invoice for _, invoice in pairs})
    return tuple(
        (customer, count) for customer, count in counts.most_common(3) if count >= 5 and count > 0.05 * invoices
    )


def currencies(proposal: Proposal) -> tuple[tuple[str, int], ...]:
    """The currencies of the sample, with the number of their lines."""
    column = proposal.beside.get(CURRENCY)
    return looks_of(proposal.sample.cells(column)).values if column else ()
