"""Text to values: every spelling that a shop's files use, and text that is no value of its column."""

import json
from datetime import datetime

import polars as pl
import pytest

from ncf_pipeline.ingest.readers.cells import as_instants, as_typed
from ncf_pipeline.ingest.readers.dialect import EPOCH_1900, EPOCH_1904, Dialect
from ncf_pipeline.ingest.readers.table import CHUNK_SCHEMA

LINE = {
    "invoice_no": "536365",
    "stock_code": "85123A",
    "description": "HOLDER",
    "quantity": "6",
    "invoice_date": "2010-12-01 08:26:00",
    "unit_price": "2.55",
    "customer_id": "17850",
    "country": "United Kingdom",
}


PLAIN = Dialect(float_codes=frozenset({"invoice_no", "stock_code"}))


def typed(dialect=PLAIN, **cells):
    row = dict.fromkeys(CHUNK_SCHEMA) | LINE | {"row_number": 2} | cells
    return as_typed(pl.DataFrame([row], schema=CHUNK_SCHEMA), dialect).row(0, named=True)


@pytest.mark.parametrize(
    ("column", "written", "value"),
    [
        ("invoice_no", " C536379 ", "C536379"),
        ("invoice_no", "536365.0", "536365"),
        ("invoice_no", "000123", "000123"),
        ("stock_code", "15056bl", "15056bl"),
        ("stock_code", "71053.00", "71053"),
        ("stock_code", "1.5", "1.5"),
        ("description", "  white  \n", "white"),
        ("description", "", None),
        ("quantity", "6", 6),
        ("quantity", "+6", 6),
        ("quantity", "-80995", -80995),
        ("quantity", "6.0", 6),
        ("quantity", "1,000", 1000),
        ("unit_price", "2.55", 2.55),
        ("unit_price", "-11062.06", -11062.06),
        ("unit_price", ".5", 0.5),
        ("unit_price", "1e-2", 0.01),
        ("unit_price", "-0", 0.0),
        ("unit_price", "1,234,567.5", 1234567.5),
        ("unit_price", "2.5500000000000003", 2.55),
        ("customer_id", "17850.0", "17850"),
        ("customer_id", "+17850", "17850"),
        ("customer_id", "9007199254740993", "9007199254740993"),
        ("customer_id", "017850", "017850"),
        ("customer_id", " anna@example.com ", "anna@example.com"),
        ("customer_id", "Anna@Example.com", "Anna@Example.com"),
        ("customer_id", "C-1001\u200b", "C-1001"),
        ("customer_id", "550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
        ("customer_id", "12345e67", "12345e67"),
        ("customer_id", "a b", "a b"),
        ("customer_id", '="x:y"', "x:y"),
        ("customer_id", "%", "%"),
        ("customer_id", "\\", "\\"),
        ("customer_id", '"', '"'),
        ("customer_id", "../x", "../x"),
        ("customer_id", "\N{GRINNING FACE}", "\N{GRINNING FACE}"),
        ("customer_id", "x" * 254, "x" * 254),
        ("customer_id", "0", None),
        ("customer_id", "", None),
        ("country", None, None),
    ],
)
def test_a_cell_is_read(column, written, value):
    row = typed(**{column: written})
    assert row[column] == value
    assert row["unreadable"] is None
    assert row["original"] is None


@pytest.mark.parametrize(
    ("column", "written"),
    [
        ("quantity", "six"),
        ("quantity", "6.5"),
        ("quantity", "1,00"),
        ("quantity", "1,0000"),
        ("quantity", "0,100"),
        ("quantity", "99999999999"),
        ("quantity", "1" * 400),
        ("quantity", "NaN"),
        ("quantity", "٣"),
        ("unit_price", "£2.55"),
        ("unit_price", "2,55"),
        ("unit_price", "1,234,5"),
        ("unit_price", "1'234.50"),
        ("unit_price", "(2.55)"),
        ("unit_price", "0.0000004"),
        ("unit_price", "nan"),
        ("unit_price", "inf"),
        ("unit_price", "-Infinity"),
        ("unit_price", "1e300"),
        ("unit_price", "1e999"),
        ("customer_id", "-5"),
        ("customer_id", "guest"),
        ("customer_id", "17850.5"),
        ("customer_id", "17.000"),
        ("customer_id", "17,850"),
        ("customer_id", "6.2E+12"),
        ("customer_id", "6E+12"),
        ("customer_id", "1.5e3"),
        ("customer_id", "9007199254740993.0"),
        ("customer_id", "00"),
        ("customer_id", "a\tb"),
        ("customer_id", "#N/A"),
        ("customer_id", "x" * 255),
        ("customer_id", "1" * 255),
        ("invoice_date", "yesterday"),
        ("invoice_date", "2011-02-30"),
        ("invoice_date", "0000-01-01"),
        ("invoice_date", "40513.35"),
        ("invoice_no", "5363\x0065"),
        ("invoice_no", "5" * 101),
        ("stock_code", "a\nb"),
        ("description", "x\x00y"),
        ("description", "x" * 5001),
    ],
)
def test_a_cell_that_is_no_value_of_its_column_is_kept_and_named(column, written):
    row = typed(**{column: written})
    assert row[column] is None
    assert row["unreadable"] == [column]
    kept = json.loads(row["original"])
    assert kept[column][:50] == written[:50].replace("\x00", "␀")
    assert kept["country"] == "United Kingdom"


def test_a_far_too_long_cell_is_cut_with_a_note():
    kept = json.loads(typed(description="x" * 100_000_000)["original"])
    assert kept["description"].endswith("… (100,000,000 characters)")
    assert len(kept["description"]) < 2_000


def test_a_line_that_cannot_be_divided_is_kept_whole():
    row = typed(**dict.fromkeys(LINE), broken='536365,"85123A"x,6')
    assert row["unreadable"] == ["line"]
    assert json.loads(row["original"]) == {"line": '536365,"85123A"x,6'}


@pytest.mark.parametrize(
    ("written", "price"),
    [("2,55", 2.55), ("1.234,55", 1234.55), ("1.234", 1234.0), ("12", 12.0), ("2.55", None), ("1,234.50", None)],
)
def test_a_decimal_comma_is_read_where_the_file_has_decimal_commas(written, price):
    row = typed(Dialect(decimal_mark=","), unit_price=written)
    assert row["unit_price"] == price
    assert row["unreadable"] == (None if price is not None else ["unit_price"])


def test_thousands_of_pieces_are_read_where_the_file_has_decimal_commas():
    assert typed(Dialect(decimal_mark=","), quantity="1.000")["quantity"] == 1000
    assert typed(Dialect(decimal_mark=","), quantity="2,0")["quantity"] == 2


def test_a_number_that_both_marks_can_read_is_not_read_where_the_file_has_both():
    disputed = Dialect(marks_disputed=True)
    assert typed(disputed, unit_price="1.234")["unreadable"] == ["unit_price"]
    assert typed(disputed, unit_price="1,234.50")["unit_price"] == 1234.5
    assert typed(disputed, unit_price="1234.5")["unit_price"] == 1234.5


def test_a_column_of_numbers_has_points_whatever_the_texts_of_the_file_have():
    dialect = Dialect(decimal_mark=",", plain_numbers=frozenset({"unit_price"}))
    assert typed(dialect, unit_price="1.234")["unit_price"] == 1.234


def test_a_code_is_kept_as_it_is_where_its_column_is_no_column_of_numbers():
    assert typed(Dialect(), stock_code="71053.0")["stock_code"] == "71053.0"


@pytest.mark.parametrize(
    ("written", "order", "instant"),
    [
        ("2010-12-01 08:26:00", None, datetime(2010, 12, 1, 8, 26)),
        ("2010-12-01 08:26", None, datetime(2010, 12, 1, 8, 26)),
        ("2010-12-01T08:26:00.123456", None, datetime(2010, 12, 1, 8, 26, 0, 123000)),
        ("2010-12-01 08:26:00.000000", None, datetime(2010, 12, 1, 8, 26)),
        ("2010-12-01 08:25:59.9999995", None, datetime(2010, 12, 1, 8, 26)),
        ("2010-12-01 08:26:00.1234567891", None, None),
        ("2010-02-30 08:26:00.5", None, None),
        ("2010-12-01 24:00:00.0", None, None),
        ("0011-12-01 08:26:00.5", None, None),
        ("2010/12/1", None, datetime(2010, 12, 1)),
        ("25/12/2010 08:26", "day first", datetime(2010, 12, 25, 8, 26)),
        ("12/25/2010 8:26", "month first", datetime(2010, 12, 25, 8, 26)),
        ("1/2/2011", "day first", datetime(2011, 2, 1)),
        ("1/2/2011", "month first", datetime(2011, 1, 2)),
        ("1/2/2011", None, None),
        ("5/5/2011 2:07 PM", None, datetime(2011, 5, 5, 14, 7)),
        ("5/5/2011 12:07 am", None, datetime(2011, 5, 5, 0, 7)),
        ("5/5/2011 14:07 PM", None, None),
        ("1.2.2011 23:59:59", None, datetime(2011, 2, 1, 23, 59, 59)),
        ("31/02/2011", "day first", None),
        ("11-01-13 08:26:00", None, None),
        ("2010-12-01T00:00:00Z", None, None),
        ("2010-12-01 24:00:00", None, None),
        ("", None, None),
    ],
)
def test_a_date_is_read(written, order, instant):
    assert as_instants(pl.Series([written]), order).to_list() == [instant]


def test_dates_of_all_spellings_in_one_column_are_each_read():
    written = ["2010-12-01 08:26:00.5", None, "2010-12-01 08:26:00", "1.12.2010 8:26", "2010-12-01 8:26:00.25", "x"]
    at = datetime(2010, 12, 1, 8, 26)
    read = as_instants(pl.Series(written), None).to_list()
    assert read == [at.replace(microsecond=500000), None, at, at, at.replace(microsecond=250000), None]


def test_a_spreadsheets_count_of_days_is_a_date_only_in_a_spreadsheet():
    series = pl.Series(["40513.351388889", "2010-12-01 08:26:00"])
    assert as_instants(series, None, epoch=EPOCH_1900).to_list() == [datetime(2010, 12, 1, 8, 26)] * 2
    assert as_instants(series, None).to_list() == [None, datetime(2010, 12, 1, 8, 26)]
    assert as_instants(pl.Series(["39051.351388889"]), None, epoch=EPOCH_1904).to_list() == [
        datetime(2010, 12, 1, 8, 26)
    ]
