"""Random shops, written as files in random dialects, with what each file must give.

`random_file` makes a file from dice. `Written.expected` has its lines as they must be read back, and `Written.open`
what the file truly leaves open, so that a reader has to refuse it. Both come from the cells that were written; nothing
of the readers is used for them. `damaged_text` makes a file with damaged lines.
"""

import gzip
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = (
    "invoice_no", "stock_code", "description", "quantity", "invoice_date", "unit_price", "customer_id", "country",
)  # fmt: skip
HEADERS = {
    "invoice_no": ["InvoiceNo", "Invoice", "Invoice No", "invoice_no", "INVOICE NUMBER", "Invoice\nNo", "Invoice No."],
    "stock_code": ["StockCode", "Stock Code", "stock_code", "STOCKCODE", " Stock-Code "],
    "description": ["Description", "DESCRIPTION", "description "],
    "quantity": ["Quantity", "quantity", "QUANTITY"],
    "invoice_date": ["InvoiceDate", "Invoice Date", "invoice_date", "Invoice\r\nDate"],
    "unit_price": ["UnitPrice", "Price", "Unit Price", "unit_price"],
    "customer_id": ["CustomerID", "Customer ID", "customer_id", "Customer Id"],
    "country": ["Country", "country", "COUNTRY"],
}
"""Our names, and how files spell them."""

Line = dict[str, Any]
"""A line of an invoice by our names: text, int, datetime, Decimal, or None."""


@dataclass
class Written:
    """A file, and what it must give.

    Attributes:
        name: of the file; its suffix says the kind.
        content: its bytes.
        expected: the lines as they must be read back, with `row_number`.
        open: what the file leaves open: "dates", "numbers", "encoding", "digits". Then it must be refused.
        may_refuse: what a reader may refuse, because it looks like damage, but need not.
        waiting: row numbers of lines that may wait in quarantine.
        style: how it is written, for people.
        records: of a text file, the text of each line of an invoice, in order.
        head: of a text file, what stands above these.
    """

    name: str
    content: bytes
    expected: list[Line]
    open: set[str] = field(default_factory=set)
    may_refuse: set[str] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    style: dict[str, Any] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)
    head: str = ""
    encoding: str = "utf-8"


# --- shops ---

WORDS = {
    "ascii": ["HEART", "MUG", 'MIRROR 6"', "RED, BLUE; GREEN", "a | b", "tab\there", 'say "hi"', "SET OF 3", "50%",
              "a's", "two\nlines", "a\n\nb, c", "=SUM", "-", "?", "x" * 300, "1,5 l", "12/13", '""', "{}", "\\", "\\.",
              "SET OF\n3, 4, x", "1,2;3|4\n5, 6; 7 | 8", "a, b, c, d, e, f, g, h\ni", "a; b; c; d; e; f; g; h; i\n!",
              "0\n1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9", 'x\n"y", z\n!', '"\n"', ',\n",', "50%\n50%, 1"],
    "western": ["CAFÉ CRÈME", "Größe XL", "El Niño", "Ångström", "für Köln", "à la carte", "PRICE £5", "20 °C", "Ø15"],
    "any": ["ЧАШКА", "茶碗", "łyżka żółta", "קפה", "☕ emoji 🎁", "Ποτήρι", "e\u0301", "naïve – “x”"],
}  # fmt: skip
COUNTRIES = {
    "ascii": ["United Kingdom", "France", "Bosnia, and Herzegovina", "EIRE"],
    "western": ["Österreich", "Côte d'Ivoire"],
    "any": ["Россия", "日本"],
}


def letters(dice: Random, length: int, alphabet: str = "ABCDEFGHKMPRSTXYZ") -> str:
    return "".join(dice.choice(alphabet) for _ in range(length))


def digits(dice: Random, length: int) -> str:
    return dice.choice("123456789") + "".join(dice.choice("0123456789") for _ in range(length - 1))


def uuid_of(dice: Random) -> str:
    return "-".join("".join(dice.choice("0123456789abcdef") for _ in range(length)) for length in (8, 4, 4, 4, 12))


NUMBERS_AS_IDS: dict[str, Callable[[Random], str]] = {
    "digits": lambda dice: digits(dice, dice.choice([1, 5, 6, 9])),
    "13 digits": lambda dice: digits(dice, 13),
}
INVOICES: dict[str, Callable[[Random], str]] = {
    **NUMBERS_AS_IDS,
    "cancelled": lambda dice: dice.choice(["", "C"]) + digits(dice, 6),
    "prefixed": lambda dice: f"INV-{dice.randrange(10**6):06}",
    "superstore": lambda dice: f"CA-2016-{digits(dice, 6)}",
    "hash": lambda dice: f"#{digits(dice, 4)}",
    "zeros": lambda dice: f"{dice.randrange(1, 9999):08}",
    "uuid": uuid_of,
    "slashes": lambda dice: f"{dice.randrange(1, 999)}/2011",
}
STOCK: dict[str, Callable[[Random], str]] = {
    **NUMBERS_AS_IDS,
    "mixed": lambda dice: digits(dice, 5) + dice.choice(["", "A", "b", "BL"]),
    "zeros": lambda dice: f"{dice.randrange(1, 999):05}",
    "skus": lambda dice: f"{letters(dice, 3)}-{dice.randrange(99)}",
    "spaces": lambda dice: f"{letters(dice, 2)} {dice.randrange(99)}",
    "19 digits": lambda dice: digits(dice, 18) + dice.choice("123456789"),
    "dotted": lambda dice: f"{dice.randrange(1, 99)}.{dice.choice('123456789')}",
    "exponents": lambda dice: f"{dice.randrange(1, 99)}E{dice.randrange(1, 9)}",
    "umlauts": lambda dice: dice.choice(["Ä", "Ö", "É"]) + letters(dice, 2),
}
CUSTOMERS: dict[str, Callable[[Random], str]] = {**NUMBERS_AS_IDS}
TEXT_CUSTOMERS: dict[str, Callable[[Random], str]] = {
    "e-mails": lambda dice: f"{letters(dice, 4).lower()}.{letters(dice, 3)}+x@example.com",
    "codes": lambda dice: f"C-{digits(dice, 4)}",
    "uuids": uuid_of,
    "zeros": lambda dice: f"{dice.randrange(1, 99999):07}",
    "odd": lambda dice: dice.choice(["a b", "x:y", "%", "../x", "O'NEIL", "a_b*", "7/8"]) + str(dice.randrange(9)),
}


def random_lines(dice: Random, letters_of: Sequence[str], *, text_customers: bool) -> tuple[list[Line], dict[str, str]]:
    """The lines of a shop, and which kinds of ids it has.

    Args:
        dice: the source of chance.
        letters_of: the keys of `WORDS` that the file's encoding has.
        text_customers: whether a customer's id may be text.
    """
    customers = CUSTOMERS | (TEXT_CUSTOMERS if text_customers else {})
    kinds = {
        "invoice_no": dice.choice([*INVOICES]),
        "stock_code": dice.choice([each for each in STOCK if each != "umlauts" or "western" in letters_of]),
        "customer_id": dice.choice([*customers]),
    }
    words = [word for each in letters_of for word in WORDS[each]]
    countries = [name for each in letters_of for name in COUNTRIES[each]]
    decimals = dice.choice([2, 2, 2, 0, 1, 3, 6])
    start = datetime(2010, 1, 1) + timedelta(days=dice.randrange(4_000))
    span = dice.choice([1, 10, 40, 700])
    guests = dice.choice([0, 0.3, 1])
    most_pieces = dice.choice([9, 900, 90_000])
    products = [STOCK[kinds["stock_code"]](dice) for _ in range(dice.choice([1, 5, 20]))]
    lines = []
    for _ in range(dice.choice([1, 2, 3, 8, 8, 8, 30, 30, 120])):
        invoice = INVOICES[kinds["invoice_no"]](dice)
        at = start + timedelta(days=dice.randrange(span), seconds=dice.randrange(86_400))
        customer = None if dice.random() < guests else customers[kinds["customer_id"]](dice)
        country = dice.choice([*countries, None])
        for _ in range(dice.choice([1, 1, 2, 4])):
            pieces = dice.randint(1, most_pieces)
            lines.append(
                {
                    "invoice_no": invoice,
                    "stock_code": dice.choice(products),
                    "description": dice.choice([*words, None]),
                    "quantity": pieces if dice.random() < 0.8 else -pieces,
                    "invoice_date": at,
                    "unit_price": Decimal(dice.randrange(dice.choice([10, 1_000, 9_999_999]))).scaleb(-decimals),
                    "customer_id": customer,
                    "country": country,
                }
            )
    return lines, kinds


# --- how cells are written ---


@dataclass(frozen=True)
class Dates:
    """A spelling of dates: `order` is None where it says by itself which number is the day."""

    order: str | None
    mark: str
    padded: tuple[bool, bool]
    clock: str

    def text(self, at: datetime) -> str:
        day, month = (
            f"{number:02}" if pad else f"{number}" for number, pad in zip((at.day, at.month), self.padded, strict=True)
        )
        if self.order is None:
            written = f"{at.year}{self.mark}{month}{self.mark}{day}"
        else:
            first, second = (day, month) if self.order == "day first" else (month, day)
            written = f"{first}{self.mark}{second}{self.mark}{at.year}"
        half = "AM" if at.hour < 12 else "PM"
        clocks = {
            "": "",
            "H:M": f" {at.hour}:{at.minute:02}",
            "HH:MM": f" {at.hour:02}:{at.minute:02}",
            "HH:MM:SS": f" {at:%H:%M:%S}",
            "THH:MM:SS": f"T{at:%H:%M:%S}",
            "HH:MM:SS.fff": f" {at:%H:%M:%S}.000",
            ", HH:MM": f", {at:%H:%M}",
            "h:MM AM": f" {(at.hour - 1) % 12 + 1}:{at.minute:02} {half}",
            "hh:MM:SS am": f" {(at.hour - 1) % 12 + 1:02}:{at:%M:%S} {half.lower()}",
        }
        return written + clocks[self.clock]

    def truth(self, at: datetime) -> datetime:
        """What of the instant is written."""
        if self.clock == "":
            return datetime(at.year, at.month, at.day)
        return at if "SS" in self.clock else at.replace(second=0)


def random_dates(dice: Random) -> Dates:
    order = dice.choice(["day first", "month first", None])
    if order is None:
        padded = dice.choice([(True, True), (True, True), (False, False)])
        clock = dice.choice(["", "H:M", "HH:MM", "HH:MM:SS", "THH:MM:SS", "HH:MM:SS.fff"])
        return Dates(None, dice.choice("--/"), padded, clock)
    mark = dice.choice("/-." if order == "day first" else "/-")
    padded = dice.choice([(True, True), (True, True), (False, False), (False, True)])
    clock = dice.choice(["", "H:M", "HH:MM", "HH:MM:SS", ", HH:MM", "h:MM AM", "hh:MM:SS am", "HH:MM:SS.fff"])
    return Dates(order, mark, padded, clock)


def orders_proved(texts: Sequence[str]) -> tuple[set[str], bool]:
    """The orders that dates such as 25/12/2011 prove, and whether another date has two readings."""
    proved, two_readings = set(), False
    for text in texts:
        numbers = re.match(r"(\d{1,2})[/-](\d{1,2})[/-]\d{4}", text)
        if numbers is None:
            continue
        first, second = int(numbers[1]), int(numbers[2])
        if first > 12:
            proved.add("day first")
        elif second > 12:
            proved.add("month first")
        elif first != second:
            two_readings = True
    return proved, two_readings


@dataclass(frozen=True)
class Numbers:
    """A spelling of numbers: the decimal mark, the mark between thousands, and how many decimals at least."""

    mark: str
    thousands: str
    fixed: int | None
    pieces: str  # how a number of pieces is written: "whole", "grouped", "float", "signed"

    def price(self, value: Decimal) -> str:
        exponent = value.normalize().as_tuple().exponent
        needed = max(0, -exponent) if isinstance(exponent, int) else 0
        decimals = needed if self.fixed is None else max(needed, self.fixed)
        return self._marked(f"{value:,.{decimals}f}")

    def quantity(self, value: int) -> str:
        if self.pieces == "grouped":
            return self._marked(f"{value:,}")
        if self.pieces == "float":
            return self._marked(f"{value:.1f}")
        return f"{value:+}" if self.pieces == "signed" else f"{value}"

    def _marked(self, text: str) -> str:
        return text.translate(str.maketrans({",": self.thousands, ".": self.mark}))


def random_numbers(dice: Random) -> Numbers:
    mark = dice.choice(".,")
    other = "," if mark == "." else "."
    thousands = dice.choice(["", "", other])
    return Numbers(
        mark, thousands, dice.choice([2, 2, None]), dice.choice(["whole", "whole", "grouped", "float", "signed"])
    )


def readings(text: str) -> dict[str, Decimal]:
    """The number by each decimal mark that the text can have."""
    found = {}
    for mark, other in ((".", ","), (",", ".")):
        m, t = re.escape(mark), re.escape(other)
        if re.fullmatch(rf"[+-]?(?:\d+|[1-9]\d{{0,2}}(?:{t}\d{{3}})+)(?:{m}\d*)?", text):
            found[mark] = Decimal(text.replace(other, "").replace(mark, ".").rstrip("."))
    return found


def numbers_are_open(texts: Sequence[str]) -> bool:
    """Whether no number proves the decimal mark, and one of them differs by it."""
    found = [readings(text) for text in texts if "." in text or "," in text]
    return not any(len(each) == 1 for each in found) and any(len(set(each.values())) > 1 for each in found)


INVISIBLE = ["\u200b", "\u00ad", "\ufeff", "\u202d", "\u200e"]


def decorated(dice: Random, code: str, style: str) -> str:
    """A code as programs and people write it."""
    if style == "float" and re.fullmatch(r"[1-9]\d{0,14}", code):
        return f"{code}.0"
    if style == "formula":
        return f'="{code}"'
    if style == "apostrophe":
        return f"'{code}"
    if style == "invisible":
        return code + dice.choice(INVISIBLE)
    if style == "spaces":
        return f"  {code} "
    if style == "wide":
        return code.translate({ord(str(number)): 0xFF10 + number for number in range(10)})
    return code


# --- text files ---

ENCODINGS = {
    "utf-8": ["ascii", "western", "any"],
    "utf-8-sig": ["ascii", "western", "any"],
    "utf-16": ["ascii", "western", "any"],
    "utf-16-le": ["ascii", "western"],
    "utf-16-be": ["ascii", "western"],
    "cp1252": ["ascii", "western"],
}
EXTRA = {"Shop": ["1", "North, West", ""], "Note": ["gift", 'a "b"', "", "x;y"], "Total": ["12.5", "3,5", ""]}


def random_text(dice: Random, *, text_customers: bool = True) -> Written:
    """A .csv or .csv.gz file."""
    encoding = dice.choice([*ENCODINGS])
    letters_of = ENCODINGS[encoding]
    lines, kinds = random_lines(dice, letters_of, text_customers=text_customers)
    dates, numbers = random_dates(dice), random_numbers(dice)
    delimiter = dice.choice(",;\t|")
    styles = dict.fromkeys(kinds, "plain")
    if dice.random() < 0.4:
        allowed = ["formula", "apostrophe", "spaces", "plain", "float"]
        allowed += ["wide", "invisible"] if "any" in letters_of else []
        styles[dice.choice([*styles])] = dice.choice(allowed)
    nothing = {name: dice.choice(["", "", "", "NULL", "nan", "\\N", "None", "N/A"]) for name in COLUMNS}
    guest = dice.choice(["", "", "NULL", "nan", "0", "0.0", "\\N"])
    order = [*COLUMNS]
    if dice.random() < 0.5:
        dice.shuffle(order)
    extra = dice.sample([*EXTRA], dice.choice([0, 0, 1, 2]))
    places: list[str] = [*order]
    for name in extra:
        places.insert(dice.randrange(len(places) + 1), name)
    numbered = dice.random() < 0.15
    nameless_end = dice.random() < 0.15
    trailing = not nameless_end and dice.random() < 0.1
    header = [dice.choice(HEADERS[name]) if name in HEADERS else name for name in places]
    header = [name.replace("\r\n", "\n") for name in header]

    rows: list[list[str]] = []
    for number, line in enumerate(lines):
        cells = {
            "invoice_no": decorated(dice, line["invoice_no"], styles["invoice_no"]),
            "stock_code": decorated(dice, line["stock_code"], styles["stock_code"]),
            "description": nothing["description"] if line["description"] is None else line["description"],
            "quantity": numbers.quantity(line["quantity"]),
            "invoice_date": dates.text(line["invoice_date"]),
            "unit_price": numbers.price(line["unit_price"]),
            "customer_id": guest
            if line["customer_id"] is None
            else decorated(dice, line["customer_id"], styles["customer_id"]),
            "country": nothing["country"] if line["country"] is None else line["country"],
        } | {name: dice.choice(EXTRA[name]) for name in extra}
        row = [cells[name] for name in places]
        if numbered:
            row.insert(0, str(number))
        if nameless_end or trailing:
            row.append("")
        rows.append(row)
    if numbered:
        header.insert(0, "")
    if nameless_end:
        header.append("")

    end = dice.choice(["\n", "\r\n", "\r"])
    quoting = dice.choice(["minimal", "all", "texts", "raw"])
    put = Writer(delimiter, quoting, end)
    titles = [dice.choice(["Sales report", "", delimiter * 3, "Printed 01.02.2011", "=== x ==="])
              for _ in range(dice.choice([0, 0, 0, 1, 3]))]  # fmt: skip
    parts, at = [], 1
    for title in titles:
        parts.append(f"{title}{end}")
        at += 1
    written = put.record(header)
    parts.append(written + end)
    at += 1 + _breaks(written)
    head = "".join(parts)
    records, expected = [], []
    empty_rows = dice.random() < 0.1
    for row, line in zip(rows, lines, strict=True):
        if empty_rows and dice.random() < 0.3:
            blank = dice.choice(["", delimiter * (len(rows[0]) - 1), "   "])
            parts.append(blank + end)
            at += 1
        written = put.record(row)
        parts.append(written + end)
        records.append(written)
        expected.append(line | {"row_number": at, "invoice_date": dates.truth(line["invoice_date"])})
        at += 1 + _breaks(written)
    if dice.random() < 0.1:
        parts += [delimiter * (len(rows[0]) - 1) + end] * 2
    text = "".join(parts)
    if dice.random() < 0.2:
        text = text.removesuffix(end)

    prices = [numbers.price(line["unit_price"]) for line in lines]
    pieces = [numbers.quantity(line["quantity"]) for line in lines]
    made = Written("shop.csv", text.encode(encoding), expected, records=records, head=head, encoding=encoding)
    _judge(made, [dates.text(line["invoice_date"]) for line in lines], [*prices, *pieces])
    if trailing and not any(re.search(r"\d[.,]\d", price) for price in prices):
        made.waiting |= {line["row_number"] for line in expected}
    made.style = {
        "kinds": kinds, "dates": dates, "numbers": numbers, "delimiter": delimiter, "encoding": encoding,
        "quoting": quoting, "end": end, "styles": styles, "guest": guest, "header": header, "trailing": trailing,
    }  # fmt: skip
    if dice.random() < 0.15:
        made.name, made.content = "shop.csv.gz", gzip.compress(made.content, 1)
    return made


def _breaks(written: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", written))


@dataclass(frozen=True)
class Writer:
    """Writes records as different programs do.

    "raw" is the way of programs that put a quote only around a cell that needs one, and leave others as they are:
    MIRROR 6" has no quotes around it.
    """

    delimiter: str
    quoting: str
    end: str

    def record(self, cells: Sequence[str]) -> str:
        if self.quoting == "raw":
            return self.delimiter.join(self._raw(cell) for cell in cells)
        if self.quoting == "texts":
            return self.delimiter.join(cell if _is_number(cell) else self._quoted(cell) for cell in cells)
        return self.delimiter.join(
            self._quoted(cell) if self.quoting == "all" or '"' in cell else self._raw(cell) for cell in cells
        )

    def _raw(self, cell: str) -> str:
        needs = any(character in cell for character in (self.delimiter, "\n", "\r")) or cell.startswith('"')
        return self._quoted(cell) if needs else cell

    def _quoted(self, cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(?:\.\d+)?", cell) is not None


def _judge(made: Written, dates: Sequence[str], numbers: Sequence[str]) -> None:
    """What the cells leave open."""
    proved, two_readings = orders_proved(dates)
    if two_readings and not proved:
        made.open.add("dates")
    if numbers_are_open(numbers):
        made.open.add("numbers")


# --- workbooks ---


def random_workbook(dice: Random, *, text_customers: bool = True) -> Written:
    """An .xlsx file."""
    lines, kinds = random_lines(dice, ["ascii", "western", "any"], text_customers=text_customers)
    lines = lines[:60]
    dates, numbers = random_dates(dice), random_numbers(dice)
    how_dates = dice.choice(["dates", "dates", "text", "serial", "mixed"])
    how_prices = dice.choice(["number", "number", "text"])
    how_pieces = dice.choice(["number", "number", "text"])
    ids = {name: dice.choice(["number", "text"]) for name in kinds}
    styles = {name: dice.choice(["plain", "plain", "apostrophe", "spaces", "invisible"]) for name in kinds}
    book = openpyxl.Workbook()
    if dice.random() < 0.3:
        book.epoch = openpyxl.utils.datetime.MAC_EPOCH
    book.remove(book.active)
    sheets = dice.choice([1, 1, 2, 3])
    made = Written("shop.xlsx", b"", [])
    texts_of_dates, texts_of_numbers = [], []
    real, text_days = [], []
    if dice.random() < 0.2:
        book.create_sheet("Notes").append(["See", "the other sheet"])
    per_sheet = -(-len(lines) // sheets)
    for number in range(sheets):
        part = lines[number * per_sheet : (number + 1) * per_sheet]
        if not part:
            continue
        sheet = book.create_sheet(f"Sales {number}" if dice.random() < 0.8 else f"Año {number} & <x>")
        order = [*COLUMNS]
        if dice.random() < 0.5:
            dice.shuffle(order)
        at = 1
        first_column = dice.choice([1, 1, 2])
        for _ in range(dice.choice([0, 0, 2])):
            sheet.cell(at, 1, dice.choice(["Sales", None]))
            at += 1
        for position, name in enumerate(order):
            sheet.cell(at, position + first_column, dice.choice(HEADERS[name]).replace("\r\n", "\n"))
        at += 1
        real_of_sheet, text_of_sheet = [], []
        for line in part:
            if dice.random() < 0.05:
                at += 1
            truth = line | {"row_number": at}
            cells: Line = {"description": line["description"], "country": line["country"]}
            for name in kinds:
                code = line[name]
                as_number = ids[name] == "number" and code is not None and re.fullmatch(r"[1-9]\d{0,14}", code)
                cells[name] = int(code) if as_number else None if code is None else decorated(dice, code, styles[name])
            cells["quantity"] = line["quantity"]
            if how_pieces == "text":
                cells["quantity"] = numbers.quantity(line["quantity"])
                texts_of_numbers.append(cells["quantity"])
            cells["unit_price"] = float(line["unit_price"])
            if how_prices == "text":
                cells["unit_price"] = numbers.price(line["unit_price"])
                texts_of_numbers.append(cells["unit_price"])
            instant = line["invoice_date"]
            as_text = how_dates == "text" or (how_dates == "mixed" and dice.random() < 0.3)
            if as_text:
                cells["invoice_date"] = dates.text(instant)
                texts_of_dates.append(cells["invoice_date"])
                text_of_sheet.append(cells["invoice_date"])
                truth["invoice_date"] = dates.truth(instant)
            elif how_dates == "serial":
                epoch = (
                    datetime(1904, 1, 1) if book.epoch == openpyxl.utils.datetime.MAC_EPOCH else datetime(1899, 12, 30)
                )
                cells["invoice_date"] = (instant - epoch) / timedelta(days=1)
            else:
                cells["invoice_date"] = instant
                real_of_sheet.append(instant.day)
            for position, name in enumerate(order):
                cell = sheet.cell(at, position + first_column, cells[name])
                if isinstance(cells[name], str):
                    cell.data_type = "s"  # otherwise "=SUM" would be a formula
            made.expected.append(truth)
            at += 1
        real.append(real_of_sheet)
        text_days.append(text_of_sheet)
    if dice.random() < 0.3:
        hidden = book.create_sheet("old")
        hidden.append([HEADERS[name][0] for name in COLUMNS])
        hidden.append(["1", "OLD", "OLD", 1, datetime(2011, 1, 31), 1.5, 1, "France"])
        hidden.sheet_state = dice.choice(["hidden", "veryHidden"])
    _judge(made, texts_of_dates, texts_of_numbers)
    for days, texts in zip(real, text_days, strict=True):
        proved, two_readings = orders_proved(texts)
        if days and max(days) <= 12 and proved and not two_readings:
            made.may_refuse.add("dates")
    out = io.BytesIO()
    book.save(out)
    made.content = out.getvalue() if dice.random() < 0.5 else with_shared_strings(out.getvalue())
    made.style = {
        "kinds": kinds, "dates": dates, "numbers": numbers, "how": (how_dates, how_prices, how_pieces), "ids": ids,
        "styles": styles, "1904": str(book.epoch),
    }  # fmt: skip
    return made


def with_shared_strings(content: bytes) -> bytes:
    """The workbook as Excel writes it: each text once, in a part of its own. openpyxl writes texts into their cells."""
    texts: dict[bytes, int] = {}

    def shared(cell: re.Match[bytes]) -> bytes:
        number = texts.setdefault(cell[2], len(texts))
        return b'%s t="s"><v>%d</v></c>' % (cell[1], number)

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        parts = {name: old.read(name) for name in old.namelist()}
        for name, part in parts.items():
            if name.startswith("xl/worksheets/"):
                texts_of = re.compile(rb'(<c [^>]*?) t="inlineStr"><is>(<t.*?</t>)</is></c>', re.DOTALL)
                parts[name] = texts_of.sub(shared, part)
        items = b"".join(b"<si>%s</si>" % text for text in texts)
        spreadsheet = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        kind = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
        relation = b'<Relationship Id="rIdTexts" Type="%s" Target="sharedStrings.xml"/></Relationships>' % kind
        rels = "xl/_rels/workbook.xml.rels"
        parts[rels] = parts[rels].replace(b"</Relationships>", relation)
        kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
        override = b'<Override PartName="/xl/sharedStrings.xml" ContentType="%s"/></Types>' % kind
        parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", override)
        parts["xl/sharedStrings.xml"] = b'<sst xmlns="%s">%s</sst>' % (spreadsheet, items)
        for name, part in parts.items():
            new.writestr(name, part)
    return out.getvalue()


# --- Parquet ---


def random_parquet(dice: Random, *, text_customers: bool = True) -> Written:
    """A .parquet file."""
    lines, kinds = random_lines(dice, ["ascii", "western", "any"], text_customers=text_customers)
    dates, numbers = random_dates(dice), random_numbers(dice)
    made = Written("shop.parquet", b"", [line | {"row_number": at} for at, line in enumerate(lines, 2)])
    columns: dict[str, pa.Array] = {}
    for name in kinds:
        codes = [line[name] for line in lines]
        columns[name] = _codes_as_arrow(dice, codes)
    for name in ("description", "country"):
        texts = pa.array([line[name] for line in lines], pa.string())
        columns[name] = dice.choice([texts, texts.cast(pa.large_string()), texts.dictionary_encode()])
    pieces = [line["quantity"] for line in lines]
    prices = [line["unit_price"] for line in lines]
    texts_of_numbers, texts_of_dates = [], []
    kind = dice.choice(["int32", "int64", "double", "text"])
    if kind == "text":
        texts = [numbers.quantity(each) for each in pieces]
        texts_of_numbers += texts
        columns["quantity"] = pa.array(texts)
    else:
        columns["quantity"] = pa.array(pieces, {"int32": pa.int32(), "int64": pa.int64(), "double": pa.float64()}[kind])
    kind = dice.choice(["double", "double", "decimal", "text"])
    if kind == "text":
        texts = [numbers.price(each) for each in prices]
        texts_of_numbers += texts
        columns["unit_price"] = pa.array(texts)
    elif kind == "decimal":
        columns["unit_price"] = pa.array(prices, pa.decimal128(20, 6))
    else:
        columns["unit_price"] = pa.array([float(each) for each in prices])
    instants = [line["invoice_date"] for line in lines]
    how_dates = dice.choice(["s", "ms", "us", "ns", "date", "text"])
    if how_dates == "text":
        texts_of_dates = [dates.text(each) for each in instants]
        columns["invoice_date"] = pa.array(texts_of_dates)
        truths = [dates.truth(each) for each in instants]
    elif how_dates == "date":
        columns["invoice_date"] = pa.array([each.date() for each in instants], pa.date32())
        truths = [datetime(each.year, each.month, each.day) for each in instants]
    else:
        columns["invoice_date"] = pa.array(instants, pa.timestamp(how_dates))
        truths = instants
    for line, truth in zip(made.expected, truths, strict=True):
        line["invoice_date"] = truth
    order = [*COLUMNS]
    dice.shuffle(order)
    names = [dice.choice(HEADERS[name]) for name in order]
    table = pa.table([columns[name] for name in order], names=names)
    if dice.random() < 0.3:
        table = table.append_column("Shop", pa.array([[1, 2]] * len(lines)))
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=dice.choice([10, 1_000]))
    made.content = out.getvalue()
    _judge(made, texts_of_dates, texts_of_numbers)
    made.style = {"kinds": kinds, "dates": dates, "numbers": numbers, "schema": str(table.schema)}
    return made


def _codes_as_arrow(dice: Random, codes: Sequence[str | None]) -> pa.Array:
    if all(code is None or re.fullmatch(r"[1-9]\d{0,14}", code) for code in codes):
        kind = dice.choice(["text", "int64", "double", "decimal"])
        if kind != "text":
            whole = pa.array([None if code is None else int(code) for code in codes], pa.int64())
            types = {"int64": pa.int64(), "double": pa.float64(), "decimal": pa.decimal128(38, 0)}
            return whole.cast(types[kind])
    texts = pa.array(codes, pa.string())
    return dice.choice([texts, texts.cast(pa.large_string()), texts.dictionary_encode()])


def random_file(dice: Random, kind: str | None = None, *, text_customers: bool = True) -> Written:
    """A file of any kind."""
    kind = kind or dice.choices(["text", "parquet", "workbook"], [12, 3, 1])[0]
    make = {"text": random_text, "parquet": random_parquet, "workbook": random_workbook}[kind]
    return make(dice, text_customers=text_customers)


# --- a shop's own columns ---

ABROAD, SHOP_TIMEZONE = "America/New_York", "Europe/London"


def random_mapped(dice: Random) -> tuple[Written, str]:
    """A .csv file in columns of a shop's own, and the mapping that reads it."""
    lines, kinds = random_lines(dice, ["ascii", "western", "any"], text_customers=True)
    joined, total, filled, abroad, states, money = (dice.random() < 0.5 for _ in range(6))
    names = {name: f"{dice.choice(['Shop', 'My', 'x'])} {name.upper()[::-1]}" for name in COLUMNS}
    mapping = {name: f"{names[name]!r}" for name in COLUMNS}
    dates = Dates("day first", dice.choice("/-"), (True, True), "HH:MM:SS")
    if joined:
        mapping["invoice_date"] = "{join: [Day, Clock]}"
    if total:
        mapping["unit_price"] = f"{{total: {names['unit_price']!r}}}"
    columns = [name for name in COLUMNS if not (joined and name == "invoice_date")]
    header = [names[name] for name in columns] + ["Day", "Clock", "State", "Money"]
    put = Writer(dice.choice(",;\t|"), dice.choice(["minimal", "all", "texts", "raw"]), "\n")
    parts, at, expected = [put.record(header) + "\n"], 2, []
    before: list[Any] = []
    number = 0
    waiting: set[int] = set()  # a total that is too large
    for line in lines:
        invoice_of = [line[name] for name in ("invoice_no", "invoice_date", "customer_id", "country")]
        is_first = invoice_of != before
        before, number = invoice_of, number + is_first
        invoice = f"{line['invoice_no']}-{number}"  # each once, so that no other invoice's cells are filled in
        at_clock = line["invoice_date"].replace(hour=6 + number % 15)  # no hour that a change of clocks skips
        price = line["unit_price"] * (line["quantity"] if total else 1)
        usd, pending = money and number % 2 == 0, states and number % 3 == 0
        day, clock = dates.text(at_clock).split(" ")
        cells = {
            "invoice_no": invoice,
            "stock_code": line["stock_code"],
            "description": line["description"] or "",
            "quantity": str(line["quantity"]),
            "invoice_date": f"{day} {clock}",
            "unit_price": f"{price:.6f}",
            "customer_id": (line["customer_id"] or "") if is_first or not filled else "",
            "country": (line["country"] or "") if is_first or not filled else "",
        }
        further = [day, clock, "pending" if pending else "paid", "USD" if usd else "GBP"]
        written = put.record([cells[name] for name in columns] + further)
        parts.append(written + "\n")
        instant = at_clock
        if abroad:
            instant = at_clock.replace(tzinfo=ZoneInfo(ABROAD)).astimezone(ZoneInfo(SHOP_TIMEZONE)).replace(tzinfo=None)
        expected.append(
            line
            | {
                "invoice_no": invoice,
                "invoice_date": instant,
                "unit_price": line["unit_price"] * (2 if usd else 1),
                "row_number": at,
                "left_out": pending,
            }
        )
        if abs(price) >= 10**9:
            waiting.add(at)
        at += 1 + _breaks(written)
    said = ["name: shop", "columns:", *(f"  {name}: {column}" for name, column in mapping.items())]
    said += ["date_order: day first", "decimal_mark: '.'"]
    said += ["fill_down: [customer_id, country]"] if filled else []
    said += [f"time_zone: {ABROAD}"] if abroad else []
    said += ["status: {column: State, counts: [paid], left_out: [pending]}"] if states else []
    said += ["currency: {column: Money, rates: {USD: 2, GBP: 1}}"] if money else []
    made = Written(
        "shop.csv", "".join(parts).encode(), expected, waiting=waiting, style={"kinds": kinds, "mapping": said}
    )
    return made, "\n".join(said)


# --- damaged lines ---

STRAY = [b'"', b"'", b",", b";", b"\t", b"|", b"\n", b"\r\n", b"\x00", b"\xff", b"\xa3", b"\xe2\x80", b"\\", b" "]


@dataclass
class Damaged:
    """A text file of which some lines are damaged. Every cell of line 7 says that it is of line 7.

    Attributes:
        content: the bytes of the file.
        expected: the lines before the damage.
        damaged: which of them are damaged.
        swapped: those of which cells may be in each other's columns, because they were swapped, or because a text has
            delimiters that take the place of others.
        what: what was done to them.
    """

    content: bytes
    expected: list[Line]
    damaged: set[int]
    swapped: set[int]
    what: list[str]


def damaged_text(dice: Random) -> Damaged:
    """A .csv file with damaged lines."""
    delimiter = dice.choice(",;\t|")
    mark = dice.choice(".,")
    put = Writer(delimiter, dice.choice(["minimal", "all", "texts", "raw"]), "\n")
    order = [*COLUMNS]
    if dice.random() < 0.5:
        dice.shuffle(order)
    kinds = dice.choice(["short", "long"])
    texts = ["", ' 6"', ", b", "\nc", '\n"d", e', "\n\nf, g", "; h | i\tj"]
    expected, records = [], []
    for number in range(dice.choice([3, 12, 40])):
        line = {
            "invoice_no": f"I{number:04}x",
            "stock_code": f"S{number:04}x",
            "description": f"D{number:04}x" + (dice.choice(texts) if kinds == "long" else ""),
            "quantity": 1_000 + number,
            "invoice_date": datetime(2011, 1, 13 + number % 15),
            "unit_price": Decimal(number) + Decimal("0.55"),
            "customer_id": str(50_000 + number),
            "country": f"L{number:04}x",
        }
        cells = line | {
            "quantity": str(line["quantity"]),
            "invoice_date": f"{line['invoice_date']:%d/%m/%Y}",
            "unit_price": str(line["unit_price"]).replace(".", mark),
        }
        expected.append(line)
        records.append(put.record([cells[name] for name in order]).encode())
    what: list[str] = []
    hit: set[int] = set()
    swapped: set[int] = set()
    for _ in range(dice.choice([1, 1, 2, 4])):
        number = dice.randrange(len(records))
        record = records[number]
        at = dice.randrange(len(record) + 1)
        kind = dice.choice(["stray", "stray", "cut", "swap", "twice", "short", "quote"])
        if kind in ("stray", "quote"):
            stray = b'"' if kind == "quote" else dice.choice(STRAY)
            record = record[:at] + stray + record[at:]
            kind = f"{stray!r} at {at}"
        elif kind == "cut":
            cut = at + dice.randint(1, 12)
            record = record[:at] + record[cut:]
            kind = f"cut {at}:{cut}"
        elif kind == "short":
            record = record[:at]
            kind = f"short {at}"
        elif kind == "swap":
            cells = record.split(delimiter.encode())
            one, two = dice.randrange(len(cells)), dice.randrange(len(cells))
            cells[one], cells[two] = cells[two], cells[one]
            record = delimiter.encode().join(cells)
            swapped.add(number)
        else:
            record = record + b"\n" + record
        records[number] = record
        hit.add(number)
        if delimiter in expected[number]["description"]:
            swapped.add(number)
        what.append(f"line {number}: {kind}")
    head = put.record([HEADERS[name][0] for name in order]).encode()
    return Damaged(b"\n".join([head, *records, b""]), expected, hit, swapped, what)


def mixed(made: Damaged, rows: Sequence[Line] | None) -> list[str]:
    """What is wrong with what a reader gave: a line of two lines' cells, a cell in another column, a line that is gone.

    A damaged line may be read with another value, as when a digit is gone; nobody could tell.
    """
    if rows is None:
        return []
    found = []
    read: set[int] = set()
    waiting = " ".join(row["original"] for row in rows if row["original"] is not None)
    for row in rows:
        if row["unreadable"] is not None:
            continue
        numbers: set[str] = set()
        for name, letter in (("invoice_no", "I"), ("stock_code", "S"), ("description", "D"), ("country", "L")):
            marks = re.findall(r"([ISDL])(\d{4})x", row[name] or "")
            numbers |= {number for _, number in marks}
            if any(each != letter and int(number) not in made.swapped for each, number in marks):
                found.append(f"row {row['row_number']}: {name} is {row[name]!r}")
        if len(numbers) > 1:
            found.append(f"row {row['row_number']}: cells of the lines {sorted(numbers)}: {row}")
        read |= {
            number
            for number, line in enumerate(made.expected)
            if all(_comparable(name, row[name]) == _comparable(name, line[name]) for name in COLUMNS)
        }
        if len(numbers) == 1 and (number := int(*numbers)) < len(made.expected) and number not in read | made.damaged:
            found.append(f"row {row['row_number']}: {row} instead of {made.expected[number]}")
    # A stray quote just before may open a text that a line closes. Then both wait.
    found += [
        f"line {number} is gone"
        for number in sorted(set(range(len(made.expected))) - read - made.damaged)
        if number - 1 not in made.damaged or f"I{number:04}x" not in waiting
    ]
    return found


# --- what a reader gave ---


def faults(made: Written, rows: Sequence[Line] | None, refusal: str | None) -> list[str]:
    """What is wrong with what a reader gave: `rows`, or the reason why it refused the file."""
    if refusal is not None:
        if "\n" in refusal or len(refusal) > 1_000:
            return [f"not one line: {refusal}"]
        if not made.open and not made.may_refuse:
            return [f"refused, though the file says everything: {refusal}"]
        if made.open and not (made.open | made.may_refuse) & reasons_of(refusal):
            return [f"refused for another reason than {made.open}: {refusal}"]
        return []
    assert rows is not None
    if made.open and any(row["unreadable"] is None for row in rows):
        return [f"read, though it leaves open {made.open}"]
    found = []
    if len(rows) != len(made.expected):
        found.append(f"{len(rows)} lines instead of {len(made.expected)}")
    for row, line in zip(rows, made.expected, strict=False):
        if row["unreadable"] is not None:
            if line["row_number"] not in made.waiting:
                found.append(f"row {line['row_number']}: {row['unreadable']} cannot be read: {row['original']}")
            continue
        if "left_out" in line and line["left_out"] != (row["left_out"] is not None):
            found.append(f"row {line['row_number']} is left out: {row['left_out']}")
        found += [
            f"row {line['row_number']}, {name}: {row[name]!r} instead of {line[name]!r}"
            for name in (*COLUMNS, "row_number")
            if _comparable(name, row[name]) != _comparable(name, line[name])
        ]
    return found


def _comparable(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "unit_price":
        return round(Decimal(str(value)), 6)
    if name == "customer_id":
        return str(value)
    if name == "quantity":
        return Decimal(str(value))
    return value


def reasons_of(refusal: str) -> set[str]:
    """What a refusal says is open."""
    said = {
        "dates": "day or the month first|two ways to write dates|writes dates in two ways|another country's Excel",
        "numbers": "could be .* or .*tells which|two ways to write numbers",
        "encoding": "encoding|not text in",
        "digits": "lost digits",
    }
    return {name for name, pattern in said.items() if re.search(pattern, refusal)}
