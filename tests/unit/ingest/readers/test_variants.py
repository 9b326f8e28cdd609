"""Others of each kind of file that shops have sent: each line is read right, or waits; or the file is refused.

A table: what the lines hold (the other cells are usual), and what each must give. `WAITS` names a column of a line that
must wait. A text is the reason for which the file must be refused.
"""

import re
from datetime import datetime

import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.cells import as_typed
from ncf_pipeline.ingest.readers.file_kinds import open_file

NAMES = {
    "invoice_no": "InvoiceNo", "stock_code": "StockCode", "description": "Description", "quantity": "Quantity",
    "invoice_date": "InvoiceDate", "unit_price": "UnitPrice", "customer_id": "CustomerID", "country": "Country",
}  # fmt: skip
USUAL = ["536365", "85123A", "HEART", "6", "2010-12-01 08:26:00", "2.55", "17850", "France"]
WAITS = "waits"

DATES = [
    ("the last day of a year alone", ["31/12/2010"], [datetime(2010, 12, 31)]),
    ("dashes, and times in two halves", ["13-01-2011 2:05 PM", "01-02-2011 12:05 am"],
     [datetime(2011, 1, 13, 14, 5), datetime(2011, 2, 1, 0, 5)]),
    ("the same day and month", ["05/05/2011", "5/05/2011", "06/6/2011"],
     [datetime(2011, 5, 5), datetime(2011, 5, 5), datetime(2011, 6, 6)]),
    ("no such day beside a proof", ["31/02/2011", "28/02/2011"], [WAITS, datetime(2011, 2, 28)]),
    ("points beside slashes that prove the month first", ["01.02.2011", "01/02/2011", "12/31/2011"],
     [datetime(2011, 2, 1), datetime(2011, 1, 2), datetime(2011, 12, 31)]),
    ("both orders, far apart", ["13/01/2011", *["2011-01-01"] * 60, "01/14/2011"], "row 2 .*row 63"),
    ("two readings with times", ["01/02/2011 10:00", "2011-01-31"], "row 2: 01/02/2011 10:00 could have the day"),
    ("month names and other eras", ["1 February 2011", "Feb-11", "2554-01-01", "11-01-13 08:26:00"],
     [WAITS, WAITS, datetime(2554, 1, 1), WAITS]),
    ("offsets", ["2011-01-13T08:26:00Z", "2011-01-13 08:26:00+01:00", "2011-01-13 08:26:00 CET"], [WAITS] * 3),
    ("counts of days, seconds and days of months", ["40556", "1294907160", "20110113", "2011-13-01"], [WAITS] * 4),
]  # fmt: skip
PRICES = [
    ("decimal commas", ["2,5", "1.234", "1.234.567"], [2.5, 1234, 1234567]),
    ("decimal points", ["2.5", "1,234", "1,234,567.1"], [2.5, 1234, 1234567.1]),
    ("other marks between thousands", ["2.5", "1'234.50", "1 234.50", "1\u00a0234.50", "1_234"], [2.5, *[WAITS] * 4]),
    ("currencies and other signs", ["2.5", "€2.55", "2.55 EUR", "kr 2.55", "2.55-", "(2.55)", "2.55%"],
     [2.5, *[WAITS] * 6]),
    ("thousands alone", ["1.234", "5.678"], r"row 2, UnitPrice: 1\.234 and row 3, UnitPrice: 5\.678 could be 1\.234"),
    ("either thousands or three decimals", ["1,234", "17"], "row 2, UnitPrice: 1,234 could be 1.234 or 1234"),
    ("both marks alike", ["2,55", "2.55", "3,10", "3.10"], "mixes two ways to write numbers"),
    ("one stray comma", ["2.55", "3.10", "4.20", "1,005", "1.005", "2,5"], [2.55, 3.1, 4.2, WAITS, WAITS, WAITS]),
    ("exponents, and none that is meant", ["1e3", "2.5E-1", "0x10", "1e", "Infinity", "--1", "1.2.3"],
     [1000, 0.25, *[WAITS] * 5]),
    ("Indian lakhs", ["1,23,456.50", "2.5"], [WAITS, 2.5]),
]  # fmt: skip
QUANTITIES = [
    ("thousands by commas", ["1,000", "12,345,678"], [1000, 12345678]),
    ("whole numbers with decimals", ["6.0", "6.00", "+6", "-6.", "6.5", "1e3", "six", "6 pcs", "TRUE", "6-"],
     [6, 6, 6, -6, *[WAITS] * 6]),
    ("too many pieces", ["2147483647", "2147483648", "-99999999999"], [2147483647, WAITS, WAITS]),
]  # fmt: skip
CODES = [
    ("kept from becoming a number", ['="0042"', "'0042", "0042", "0042\u200f", "\u2066" "0042", "0042\ufe0f"],
     ["0042"] * 6),
    ("lost to a spreadsheet", ["85123A", "1.2E+11"], "row 3, StockCode: 1.2E.11 has lost digits"),
    ("lost, with a comma", ["1,23457E+12"], "has lost digits"),
    ("not an exponent", ["12E3", "1E+1", "E+12", "5E12"], ["12E3", "1E+1", "E+12", "5E12"]),
    ("rounded to 15 digits", ["123456789012345000"], "has lost digits"),
    ("long, and some with all digits", ["123456789012345678", "123456789012345000"],
     ["123456789012345678", "123456789012345000"]),
    ("floats", ["71053.0", "22633.0"], ["71053", "22633"]),
    ("fractions", ["71053.0", "22633.5"], ["71053.0", "22633.5"]),
    ("errors in other languages", ["#BEZUG!", "#NOM?", "#ÜBERLAUF!", "#N/D", "#1001"],
     [WAITS, WAITS, "#ÜBERLAUF!", WAITS, "#1001"]),
    ("empty in the spelling of programs", ["NULL", "nan", "<NA>", "\\N"], [None] * 4),
]  # fmt: skip
CUSTOMERS = [
    ("text", ["a@example.com", "C-1001", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "017850", "O'NEILL", "Ünal 7"],
     ["a@example.com", "C-1001", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "017850", "O'NEILL", "Ünal 7"]),
    ("numbers", ["17850", "17850.0", "9007199254740993", '="17850"'], ["17850", "17850", "9007199254740993", "17850"]),
    ("guests", ["", "0", "0.0", "NULL", "nan", "None", "NA", "\\N", "<NA>", "(null)", " "], [None] * 11),
    ("no customers", ["-1", "17,850", "17.850", "6.2E+12", "guest", "ANONYMOUS", "-", "?", "--", "#N/A", "undefined"],
     [WAITS] * 11),
]  # fmt: skip
TABLE = [
    (column, title, cells, gives)
    for column, rows in {
        "invoice_date": DATES, "unit_price": PRICES, "quantity": QUANTITIES, "stock_code": CODES,
        "customer_id": CUSTOMERS,
    }.items()
    for title, cells, gives in rows
]  # fmt: skip


def read(path):
    with open_file(path, path.name, max_unpacked_mb=100) as opened:
        return [row for table in opened.tables for chunk in table.chunks()
                for row in as_typed(chunk, table.dialect).iter_rows(named=True)]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "cells", "gives"), [(row[0], *row[2:]) for row in TABLE], ids=[f"{row[0]}: {row[1]}" for row in TABLE]
)
def test_cells_of_other_shops(tmp_path, column, cells, gives):
    at = [*NAMES].index(column)
    lines = [[*USUAL[:at], cell, *USUAL[at + 1 :]] for cell in cells]
    if column == "quantity":
        lines = [[*line[:5], "2.55", *line[6:]] for line in lines]
    path = tmp_path / "a.csv"
    path.write_text("\n".join("\t".join(line) for line in [list(NAMES.values()), *lines]), encoding="utf-8")
    if isinstance(gives, str):
        with pytest.raises(InputError, match=gives) as raised:
            read(path)
        assert "\n" not in str(raised.value)
        return
    rows = read(path)
    assert [WAITS if row["unreadable"] == [column] else row[column] for row in rows] == gives
    assert all(row["unreadable"] in (None, [column]) for row in rows)


HEADER = ",".join(NAMES.values())
LINE = ",".join(USUAL)
LINES = [
    # title, header, lines, invoices of the lines that are read, rows of those that wait
    ("a stray quote in the last line", HEADER, [LINE, LINE.replace("HEART", '"HEART')], ["536365"], [3]),
    ("a stray quote in the last cell", HEADER, [LINE.replace("France", '"France'), LINE], ["536365"], [2]),
    ("a quote alone on a line", HEADER, [LINE, '"', LINE], ["536365"] * 2, [3]),
    ("two stray quotes in a row", HEADER, [LINE.replace("HEART", '"A'), LINE.replace("HEART", '"B')], [], [2, 3]),
    ("inch marks", HEADER, [LINE.replace("HEART", '6"'), LINE.replace("HEART", '6" x 4"')], ["536365"] * 2, []),
    ("quotes escaped by a backslash", HEADER, [LINE.replace("HEART", '"6\\" RED"'), LINE], ["536365"], [2]),
    ("an unquoted price with a comma", HEADER, [LINE.replace("2.55", "2,55"), LINE], ["536365"], [2]),
    ("an unquoted price with thousands", HEADER + ",", [LINE.replace("2.55", "1,234.50"), LINE + ","], ["536365"], [2]),
    ("a cell too few", HEADER, [LINE.replace(",France", ""), LINE], ["536365"], [2]),
    (
        "text under a column without a name",
        HEADER + ",,",
        [LINE + ",,", LINE + ",,x", LINE + ",x,"],
        ["536365"],
        [3, 4],
    ),
    ("a header in the middle, with a mark of order", HEADER, [LINE, "\ufeff" + HEADER, LINE], ["536365"] * 2, [3]),
    ("a line of separators", HEADER, [LINE, "-" * 40, LINE], ["536365"] * 2, [3]),
    (
        "a line cut off before one with damaged quotes",
        HEADER,
        [LINE.partition("HEART")[0] + '"HEA', LINE.replace("HEART", '""d"", e"'), LINE],
        ["536365"],
        [2],
    ),
    ("a NUL", HEADER, [LINE.replace("HEART", "HE\x00ART"), LINE], ["536365"], [2]),
]


@pytest.mark.parametrize(
    ("header", "lines", "read_as", "waits"), [row[1:] for row in LINES], ids=[row[0] for row in LINES]
)
def test_broken_lines_of_other_shops(tmp_path, header, lines, read_as, waits):
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join([header, *lines]).encode())
    rows = read(path)
    assert [row["invoice_no"] for row in rows if row["unreadable"] is None] == read_as
    assert [row["row_number"] for row in rows if row["unreadable"] is not None] == waits
    assert all(re.search("HEART|^6|^$", row["description"] or "") for row in rows if row["unreadable"] is None)
