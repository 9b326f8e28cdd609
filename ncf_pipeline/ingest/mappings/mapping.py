"""A mapping: what a person says once of the exports of a shop, as YAML: columns, clock, currency, statuses, guests."""

import hashlib
import re
from collections.abc import Hashable
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.given import DateOrder, DecimalMark, Given

FORMAT_SECONDS = "epoch seconds"
FORMAT_MILLISECONDS = "epoch milliseconds"

NAME = r"[a-z0-9_-]{1,40}"
"""What a mapping may be called: it is also a folder of the inbox."""

MAX_YAML = 64 * 1024
_DIRECTIVES = "YymdHIMSfpbBaAz%j"
_GIVEN = ("encoding", "delimiter", "date_order", "decimal_mark", "sheets")

FillDown = Literal[
    "invoice_no", "description", "invoice_date", "customer_id", "country", "status", "currency", "time_zone"
]


def _as_names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _are_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or not all(plain_name(name) for name in names):
        raise ValueError("names no column. Write the name that the header of the file has")
    return names


def _is_zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no IANA time zone. Write one such as Europe/London") from error


def _is_pattern(pattern: str) -> str:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        raise ValueError(f"{pattern!r} is no regular expression that is read. Write one such as ^C[0-9]+$") from error
    return pattern


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names), AfterValidator(_are_names)]
"""One column of the file, or several: the first of them that is not empty."""

Zone = Annotated[str, AfterValidator(_is_zone)]
Rate = Annotated[Decimal, Field(gt=0, le=10**9)]


def plain_name(name: str) -> str:
    """A column's name, or a status, as it is compared: without case, spaces and punctuation.

    >>> plain_name("Lineitem SKU"), plain_name("on-hold")
    ('lineitemsku', 'onhold')
    """
    return "".join(character for character in name.casefold() if character.isalnum())


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Part):
    """Where one of our columns comes from: exactly one of the four, but a price may have `price` and `total`.

    Attributes:
        names: columns of the file: the first that the file has and that is not empty.
        join: columns of the file whose cells are put together with a space, such as a date and a time.
        constant: the same text on each line.
        total: columns with the price of the whole line, which is divided by the quantity. If the file has one of
            `names`, that is the price.
    """

    names: Annotated[tuple[str, ...], BeforeValidator(_as_names)] = ()
    join: Annotated[tuple[str, ...], BeforeValidator(_as_names)] = ()
    constant: str | None = None
    total: Annotated[tuple[str, ...], BeforeValidator(_as_names)] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str | list | tuple):
            return {"names": value}
        if isinstance(value, dict) and "price" in value:
            return {"names": value["price"], **{key: cell for key, cell in value.items() if key != "price"}}
        return value

    @model_validator(mode="after")
    def _has_one_source(self) -> "Column":
        given = [bool(self.names or self.total), bool(self.join), self.constant is not None]
        if sum(given) != 1:
            raise ValueError(
                "needs one source. Write a name, a list of names, {join: [...]}, {constant: ...} or {total: ...}"
            )
        for names in (self.names, self.join, self.total):
            if names:
                _are_names(names)
        return self

    @model_serializer
    def _as_written(self) -> Any:
        if self.constant is not None:
            return {"constant": self.constant}
        if self.join:
            return {"join": list(self.join)}
        names: Any = self.names[0] if len(self.names) == 1 else list(self.names)
        total: Any = self.total[0] if len(self.total) == 1 else list(self.total)
        if self.total:
            return {"price": names, "total": total} if self.names else {"total": total}
        return names

    @property
    def of_file(self) -> tuple[str, ...]:
        """Every column of the file that it may read."""
        return (*self.names, *self.join, *self.total)


class Columns(_Part):
    """Our columns by name. A file may lack `country` and `description`; every other column is needed."""

    invoice_no: Column
    stock_code: Column
    description: Column | None = None
    quantity: Column
    invoice_date: Column
    unit_price: Column
    customer_id: Column
    country: Column | None = None

    @model_validator(mode="after")
    def _has_totals_in_prices(self) -> "Columns":
        for name in InvoiceLines.ALL:
            column = getattr(self, name)
            if column is not None and column.total and name != InvoiceLines.UNIT_PRICE:
                raise ValueError(f"{name}: only unit_price may be a total. Write the name of a column")
        return self

    def given(self) -> dict[str, Column]:
        """Our columns that the mapping names, in our order."""
        return {name: column for name in InvoiceLines.ALL if (column := getattr(self, name)) is not None}


class ZoneColumn(_Part):
    """The time zone of each line, from a column.

    Attributes:
        column: of the file.
        names: what the cells hold, to IANA names. A cell that holds an IANA name needs no entry.
        optional: whether the file may lack the column. Its times are then of the shop's clock.
    """

    column: Names
    names: dict[str, Zone] = Field(default_factory=dict)
    optional: bool = False


class Currency(_Part):
    """How prices become prices in the shop's currency.

    Attributes:
        column: with the currency of each line. Without `rates`, the file may have one currency only.
        rates: currency to the factor of its prices.
        rate: the factor of all prices.
        sign: the currency sign that prices carry, such as $. It is taken off; a price with another sign waits.
        optional: whether the file may lack the column.
    """

    column: Names | None = None
    rates: dict[str, Rate] = Field(default_factory=dict)
    rate: Rate | None = None
    sign: str | None = Field(None, min_length=1, max_length=4)
    optional: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> "Currency":
        if self.rates and self.column is None:
            raise ValueError("has rates, but no column. Add the column that names each line's currency, or write rate")
        if self.rates and self.rate is not None:
            raise ValueError("has rate and rates. Keep one of them")
        if self.column is None and self.rate is None and self.sign is None:
            raise ValueError("says nothing. Write column and rates, rate, or sign")
        return self


class Returns(_Part):
    """How a return shows. Exactly one of the three.

    Attributes:
        sign: a negative quantity is a return.
        status: statuses whose lines are returns, whatever the sign of their quantity.
        column: of the quantity that was returned of a line: it is taken off. If nothing is left, the line was taken
            back.
    """

    sign: Literal["negative"] | None = None
    status: Annotated[tuple[str, ...], BeforeValidator(_as_names)] = ()
    column: Names | None = None
    optional: bool = False

    @model_validator(mode="after")
    def _is_one(self) -> "Returns":
        if sum((self.sign is not None, bool(self.status), self.column is not None)) != 1:
            raise ValueError("needs one of sign: negative, status: [...] or column: NAME")
        return self


class Status(_Part):
    """Which lines count, by a column of the file. A line with a status that none of them names waits.

    Attributes:
        column: of the file.
        counts: statuses of lines that count.
        takes_back: statuses of lines that do not, or no longer: if all lines of an invoice have one of them, the
            stored invoice is removed.
        left_out: statuses of lines that do not count, or not yet; what is stored stays.
        cancelled: a column that is filled where the order was cancelled, such as with the time: its lines are taken
            back, whatever their status. The file may lack it.
        optional: whether the file may lack the column; all its lines count then.
    """

    column: Names
    cancelled: Names | None = None
    counts: tuple[str, ...]
    takes_back: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    optional: bool = False

    @model_validator(mode="after")
    def _each_once(self) -> "Status":
        seen: set[str] = set()
        for status in (*self.counts, *self.takes_back, *self.left_out):
            if plain_name(status) in seen:
                raise ValueError(f"names {status!r} twice. Keep it in one of counts, takes_back and left_out")
            seen.add(plain_name(status))
        return self


class Mapping(_Part):
    """What a person says of a shop's exports. See docs/mappings.md for each key."""

    name: str = Field(pattern=f"^{NAME}$")
    columns: Columns
    encoding: str | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    date_order: DateOrder | None = None
    decimal_mark: DecimalMark | None = None
    sheets: tuple[str, ...] | None = None
    date_formats: tuple[str, ...] = ()
    time_zone: Zone | ZoneColumn | None = None
    currency: Currency | None = None
    fill_down: tuple[FillDown, ...] = ()
    guests: tuple[str, ...] = ()
    returns: Returns = Field(default_factory=lambda: Returns(sign="negative"))
    cancellation: Annotated[str, AfterValidator(_is_pattern)] | None = None
    status: Status | None = None
    invoices: Literal["whole", "parts"] = "whole"
    fractional_quantities: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, value: Any) -> Any:
        # `encoding:` with nothing behind it says nothing.
        if isinstance(value, dict):
            return {key: cell for key, cell in value.items() if cell != "" or key == "name"}
        return value

    @field_validator("time_zone", mode="before")
    @classmethod
    def _one_kind_of_zone(cls, value: Any) -> Any:
        # Decided here, so that a wrong key is told once, and not once for each kind.
        if isinstance(value, dict):
            return ZoneColumn.model_validate(value)
        return _is_zone(value) if isinstance(value, str) else value

    @field_validator("delimiter")
    @classmethod
    def _divides(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (delimiter in "\"'\r\n\0\x0b\x0c\x85\u2028\u2029" or delimiter.isalnum()):
            raise ValueError(f"{delimiter!r} divides no cells. Write one such as , ; | or a tab")
        return delimiter

    @field_validator("date_formats")
    @classmethod
    def _are_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        for each in formats:
            if each in (FORMAT_SECONDS, FORMAT_MILLISECONDS):
                continue
            used = set(re.findall(r"%(.)", each))
            if unknown := used - set(_DIRECTIVES):
                raise ValueError(f"{each!r} has %{min(unknown)}, which is not known. Write it as in %d/%m/%y %H:%M")
            if not (used & {"Y", "y"} and (used & {"j"} or (used & {"m", "b", "B"} and "d" in used))):
                raise ValueError(f"{each!r} has no year, month and day. Write it as in %d/%m/%y %H:%M")
        return formats

    @model_validator(mode="after")
    def _agrees(self) -> "Mapping":
        if self.invoices == "parts" and self.status is not None and self.status.cancelled:
            raise ValueError(
                "status.cancelled would remove a whole invoice for the lines of one part. Take it out, or write "
                "invoices: whole"
            )
        if self.invoices == "parts" and self.status is not None and self.status.takes_back:
            raise ValueError(
                "status.takes_back would remove a whole invoice for the lines of one part. Put its statuses into "
                "status.left_out, so that what is stored stays, or into counts and returns.status, or write invoices: "
                "whole"
            )
        if self.returns.status:
            if self.status is None:
                raise ValueError("returns.status needs the key status. Say there which column has the status")
            known = {plain_name(each) for each in self.status.counts}
            if unknown := [each for each in self.returns.status if plain_name(each) not in known]:
                raise ValueError(f"returns.status: {unknown[0]!r} is not among status.counts. Add it there")
        needs = {"status": self.status, "currency": self.currency, "time_zone": self.time_zone}
        for name in self.fill_down:
            if name in needs and not getattr(needs[name], "column", None):
                raise ValueError(f"fill_down names {name}, which has no column. Name its column, or take it out")
            if name in InvoiceLines.ALL and getattr(self.columns, name) is None:
                raise ValueError(f"fill_down names {name}, which columns does not. Add it there, or take it out")
        return self

    def given(self) -> Given:
        """What it says of files in general; the rest, a file has to prove."""
        return Given(**{key: getattr(self, key) for key in _GIVEN})

    @cached_property
    def sha256(self) -> str:
        """Of what it says: files are read again if it changes. Its name does not count."""
        return hashlib.sha256(self.model_dump_json(exclude={"name"}).encode()).hexdigest()


class _Loader(yaml.BaseLoader):  # type: ignore[misc]  # yaml has no types
    """Every value is text, a list or a dictionary: `NO` stays a country, and 00123 a code."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*), which is not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"the key {twice[0]} occurs twice")
        made: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return made


def from_yaml(text: str) -> Mapping:
    """Reads a mapping.

    Raises:
        InputError: it is no YAML, or a key is missing, unknown or wrong. One line names the key, and what to write.
    """
    if len(text) > MAX_YAML:
        raise InputError(f"The mapping has more than {MAX_YAML:,} characters. Is it the right file?")
    try:
        said = yaml.load(text, Loader=_Loader)  # noqa: S506 - it makes text, lists and dictionaries only
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"The mapping is no YAML{where}: {problem}. See docs/mappings.md for an example.") from error
    if not isinstance(said, dict):
        raise InputError("The mapping has no keys. Write at least name and columns; see docs/mappings.md.")
    try:
        return Mapping.model_validate(said)
    except ValidationError as error:
        raise InputError(_in_one_line(error)) from error


def to_yaml(mapping: Mapping) -> str:
    """Writes a mapping, without the keys that say what is usual. `from_yaml` reads the same again."""
    said = mapping.model_dump(mode="json", exclude_defaults=True)
    return str(yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=100))


def _in_one_line(error: ValidationError) -> str:
    """The first thing that is wrong, with its key."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "mapping"
    kind = first["type"]
    more = len(error.errors()) - 1
    if kind == "extra_forbidden":
        reason = f"there is no such key. {_keys_beside(first['loc'])}"
    elif kind == "missing":
        reason = "it is missing. Add it"
    elif kind == "value_error":
        reason = str(first["ctx"]["error"])
    elif kind == "string_pattern_mismatch":
        reason = "it may have small letters, digits, _ and -, up to 40. Choose another one"
    else:
        shown = str(first["input"])
        reason = f"{shown[:40]!r} is not read ({first['msg']}). Correct it"
    others = f" ({more} more keys are wrong.)" if more > 1 else " (One more key is wrong.)" if more else ""
    return f"The mapping's {key}: {reason.rstrip('.')}.{others}"


def _keys_beside(where: tuple[int | str, ...]) -> str:
    """The keys that may stand where an unknown one does."""
    kinds: dict[tuple[str, ...], type[BaseModel]] = {
        (): Mapping, ("columns",): Columns, ("status",): Status, ("currency",): Currency, ("returns",): Returns,
        ("time_zone",): ZoneColumn,
    }  # fmt: skip
    kind = kinds.get(tuple(str(part) for part in where[:-1]), Column)
    return f"Write one of {', '.join(kind.model_fields)}"
