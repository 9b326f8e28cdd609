"""A shop's own files, read by what a mapping says of them: every kind of file, and every key of a mapping."""

import gzip
import json
from datetime import datetime, time
from pathlib import Path

import openpyxl
import polars as pl
import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.mapping import Mapping, from_yaml
from ncf_pipeline.ingest.mappings.ready_made import ready
from ncf_pipeline.ingest.readers import table
from ncf_pipeline.ingest.readers.cells import as_typed
from ncf_pipeline.ingest.readers.file_kinds import open_file

CASES = Path(__file__).parents[5] / "shared" / "cases" / "files"

COLUMNS = """
columns:
  invoice_no: Order
  stock_code: Sku
  description: Title
  quantity: Qty
  invoice_date: When
  unit_price: Each
  customer_id: Customer
  country: Land
"""
HEADER = "Order,Sku,Title,Qty,When,Each,Customer,Land"


def mapping(more: str = "", columns: str = COLUMNS) -> Mapping:
    return from_yaml(f"name: shop\n{columns}{more}")


def read(path: Path, said: Mapping, shop: str = "Europe/London") -> pl.DataFrame:
    with open_file(path, path.name, max_unpacked_mb=100, mapping=said, shop_timezone=shop) as opened:
        return pl.concat(as_typed(chunk, each.dialect) for each in opened.tables for chunk in each.chunks())


def lines_of(tmp_path: Path, text: str, said: Mapping, shop: str = "Europe/London") -> pl.DataFrame:
    path = tmp_path / "orders.csv"
    path.write_text(text)
    return read(path, said, shop)


def one(tmp_path: Path, more: str = "", shop: str = "Europe/London", **cells: str) -> dict:
    """A single line with some cells of its own, as it is read by a mapping that says more."""
    usual = {"Order": "1", "Sku": "A", "Title": "CUP", "Qty": "2", "When": "2023-01-05 10:00:00", "Each": "10.00"}
    usual |= {"Customer": "17850", "Land": "France"}
    line = usual | cells
    # A second line proves the decimal mark and the kind of a column, whatever the first one holds.
    text = f"{','.join(line)}\n" + "".join(f'"{cell}",' for cell in line.values())[:-1] + "\n"
    return lines_of(tmp_path, text, mapping(more), shop).row(0, named=True)


def case(name: str) -> Path:
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here")
    return CASES / name


def test_columns_are_found_by_the_mappings_names_whatever_their_case_spaces_and_punctuation(tmp_path: Path):
    read_ = lines_of(
        tmp_path, "a title\nORDER,s-k-u,note,qty,when,each,customer\n1,A,x,2,2023-01-05,10.00,17850", mapping()
    )
    assert read_.select("invoice_no", "stock_code", "quantity", "unit_price", "country", "row_number").rows() == [
        ("1", "A", 2, 10.0, None, 3)
    ]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (
            "Order,Sku,Title,When,Each,Customer",
            "has no column Qty (quantity), which the mapping shop reads; its header",
        ),
        ("Order,Sku,Qty,When,Each", "has no column Customer (customer_id)"),
        ("Order,Sku,Qty,When,Each,Customer,Qty", "has the column Qty twice"),
        ("InvoiceNo,StockCode", "has none of the columns that the mapping shop reads: Order, Sku,"),
    ],
)
def test_a_missing_column_is_named_with_what_the_header_has(tmp_path: Path, header: str, told: str):
    with pytest.raises(InputError) as error:
        lines_of(tmp_path, f"{header}\n", mapping())
    assert told in str(error.value)


def test_a_status_that_the_mapping_needs_is_missed_unless_the_file_may_lack_it(tmp_path: Path):
    text = f"{HEADER}\n1,A,CUP,2,2023-01-05,10.00,17850,France"
    with pytest.raises(InputError, match=r"no column State \(status\)"):
        lines_of(tmp_path, text, mapping("status: {column: State, counts: [paid]}"))
    assert len(lines_of(tmp_path, text, mapping("status: {column: State, counts: [paid], optional: true}"))) == 1


def test_the_first_of_several_columns_that_is_filled_counts(tmp_path: Path):
    said = mapping(columns=COLUMNS.replace("Sku", "[Ean, Sku, Title]"))
    text = f"{HEADER}\n1,A,CUP,2,2023-01-05,10.00,17850,France\n1,,PAN,2,2023-01-05,10.00,17850,France"
    text += "\n1,NULL,POT,2,2023-01-05,10.00,17850,France"
    assert lines_of(tmp_path, text, said)["stock_code"].to_list() == ["A", "PAN", "POT"]


def test_cells_are_put_together_and_texts_are_constant(tmp_path: Path):
    said = mapping(
        columns=COLUMNS.replace("When", "{join: [Day, Time]}").replace("Land", "{constant: NO}").replace("Title", "Sku")
    )
    text = "Order,Sku,Qty,Day,Time,Each,Customer\n1,A,2,2023-01-05,10:11:12,10.00,17850\n1,B,2,2023-01-05,,10.00,17850"
    assert lines_of(tmp_path, text, said).select("description", "country", "invoice_date").rows() == [
        ("A", "NO", datetime(2023, 1, 5, 10, 11, 12)),
        ("B", "NO", datetime(2023, 1, 5)),
    ]


def test_dates_and_times_of_a_workbook_are_put_together(tmp_path: Path):
    book = openpyxl.Workbook()
    book.active.append(["Order", "Sku", "Qty", "Day", "Time", "Each", "Customer"])
    book.active.append(["1", "A", 2, datetime(2023, 1, 5), time(10, 11, 12), 10.0, 17850])
    book.save(tmp_path / "orders.xlsx")
    said = mapping(columns=COLUMNS.replace("When", "{join: [Day, Time]}"))
    assert read(tmp_path / "orders.xlsx", said).select("invoice_date", "quantity", "unreadable").rows() == [
        (datetime(2023, 1, 5, 10, 11, 12), 2, None)
    ]


@pytest.mark.parametrize(
    ("total", "quantity", "price"),
    [
        ("20.00", "2", 10.0),
        ("10.00", "3", 3.333333),
        ("20.00", "3", 6.666667),
        ("0.01", "7", 0.001429),
        ("999999.99", "8", 124999.99875),
        ("-20.00", "-2", 10.0),
    ],
)
def test_a_total_is_divided_by_the_quantity(tmp_path: Path, total: str, quantity: str, price: float):
    said = mapping(columns=COLUMNS.replace("Each", "{total: Each}"))
    text = f"{HEADER}\n1,A,CUP,{quantity},2023-01-05,{total},17850,France"
    assert lines_of(tmp_path, text, said)["unit_price"].to_list() == [price]


def test_the_price_of_a_piece_goes_before_a_total_if_the_file_has_it(tmp_path: Path):
    said = mapping(columns=COLUMNS.replace("Each", "{price: Each, total: Sum}"))
    text = f"{HEADER},Sum\n1,A,CUP,2,2023-01-05,9.50,17850,France,20.00"
    assert lines_of(tmp_path, text, said)["unit_price"].to_list() == [9.5]
    assert lines_of(tmp_path, text.replace("Each", "Other"), said)["unit_price"].to_list() == [10.0]


def test_a_total_of_no_pieces_has_no_price(tmp_path: Path):
    said = mapping(columns=COLUMNS.replace("Each", "{total: Each}"))
    read_ = lines_of(tmp_path, f"{HEADER}\n1,A,CUP,0,2023-01-05,20.00,17850,France", said)
    assert read_.select("quantity", "unit_price").rows() == [(0, None)]


# (what the mapping says, the cell, the shop's time zone, what is read; None if the line waits)
CLOCK = [
    ("", "2023-01-05 10:11:12 -0500", "Europe/London", datetime(2023, 1, 5, 15, 11, 12)),
    ("", "2023-07-05T10:11:12Z", "Europe/London", datetime(2023, 7, 5, 11, 11, 12)),
    ("", "2023-07-05T10:11:12.250+00:00", "Europe/London", datetime(2023, 7, 5, 11, 11, 12, 250_000)),
    ("", "2023-01-05 10:11 +05:30", "UTC", datetime(2023, 1, 5, 4, 41)),
    ("", "2023-01-05 10:11 UTC", "Asia/Tokyo", datetime(2023, 1, 5, 19, 11)),
    ("", "13/01/2023 1:11 PM -0500", "UTC", datetime(2023, 1, 13, 18, 11)),
    ("", "2023-01-05 10:11 +19:00", "UTC", None),
    ("", "2023-01-05 10:11:12", "Europe/London", datetime(2023, 1, 5, 10, 11, 12)),
    ("time_zone: America/New_York", "2023-01-05 10:11:12", "Europe/London", datetime(2023, 1, 5, 15, 11, 12)),
    ("time_zone: America/New_York", "2023-01-05 10:11:12Z", "Europe/London", datetime(2023, 1, 5, 10, 11, 12)),
    # a date without a time stays that date
    ("time_zone: Europe/London", "2023-01-05", "America/New_York", datetime(2023, 1, 5)),
    ("time_zone: Europe/London", "2023-01-05 00:00:00", "America/New_York", datetime(2023, 1, 4, 19)),
    # the hour that London's clock shows twice, and the one that it skips
    ("time_zone: Europe/London", "2023-10-29 01:30:00", "UTC", datetime(2023, 10, 29, 0, 30)),
    ("time_zone: Europe/London", "2023-03-26 01:30:00", "UTC", datetime(2023, 3, 26, 1, 30)),
    ("time_zone: Australia/Lord_Howe", "2023-10-01 02:15:00", "UTC", datetime(2023, 9, 30, 15, 45)),
    ("date_formats: ['%d/%m/%y']", "05/01/23", "UTC", datetime(2023, 1, 5)),
    ("date_formats: ['%d/%m/%y %H:%M']", "5/1/23 9:05", "UTC", datetime(2023, 1, 5, 9, 5)),
    ("date_formats: ['%d-%b-%Y %H:%M']", "05-Jan-2023 09:05", "UTC", datetime(2023, 1, 5, 9, 5)),
    ("date_formats: ['%B %d, %Y %I:%M %p']", "January 5, 2023 9:05 pm", "UTC", datetime(2023, 1, 5, 21, 5)),
    ("date_formats: [epoch seconds]", "1672913472", "UTC", datetime(2023, 1, 5, 10, 11, 12)),
    ("date_formats: [epoch milliseconds]", "1672913472250", "Asia/Tokyo", datetime(2023, 1, 5, 19, 11, 12, 250_000)),
    ("date_formats: ['%d/%m/%y %H:%M %z']", "05/01/23 09:05 +0100", "UTC", datetime(2023, 1, 5, 8, 5)),
    ("date_formats: ['%Y%m%d', '%d.%m.%y']", "05.01.23", "UTC", datetime(2023, 1, 5)),
    # a format is not stretched: 23 is no year of four digits
    ("date_formats: ['%d/%m/%Y']", "05/01/23", "UTC", None),
    ("", "05/01/23", "UTC", None),
    ("", "1672913472", "UTC", None),
    ("date_formats: ['%d/%m/%y']", "31/02/23", "UTC", None),
]


@pytest.mark.parametrize(("said", "cell", "shop", "instant"), CLOCK)
def test_times_are_of_the_shops_clock(tmp_path: Path, said: str, cell: str, shop: str, instant: datetime | None):
    line = one(tmp_path, said, shop, When=cell)
    assert line["invoice_date"] == instant
    assert line["unreadable"] == (["invoice_date"] if instant is None else None)


def test_a_format_decides_where_a_date_could_be_read_in_two_ways(tmp_path: Path):
    text = f"{HEADER}\n1,A,CUP,2,01/02/2023,10.00,17850,France\n1,A,CUP,2,02/03/2023,10.00,17850,France"
    with pytest.raises(InputError, match="could have the day or the month first"):
        lines_of(tmp_path, text, mapping())
    read_ = lines_of(tmp_path, text, mapping("date_formats: ['%m/%d/%Y']"))
    assert read_["invoice_date"].to_list() == [datetime(2023, 1, 2), datetime(2023, 2, 3)]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("date_order: month first", "the day is first, but month first is given"),
        ("decimal_mark: ','", "decimal mark is ."),
    ],
)
def test_a_file_that_proves_the_mapping_wrong_is_refused(tmp_path: Path, said: str, told: str):
    with pytest.raises(InputError, match=told):
        one(tmp_path, said, When="13/02/2023")


@pytest.mark.parametrize(
    ("zone", "instant", "unreadable"),
    [
        ("Eastern", datetime(2023, 1, 5, 15), None),
        ("eastern ", datetime(2023, 1, 5, 15), None),
        ("Asia/Tokyo", datetime(2023, 1, 5, 1), None),
        ("Mars", None, ["time_zone"]),
        ("", None, ["time_zone"]),
    ],
)
def test_each_line_may_have_its_own_time_zone(
    tmp_path: Path, zone: str, instant: datetime, unreadable: list[str] | None
):
    line = one(tmp_path, "time_zone: {column: Zone, names: {Eastern: America/New_York}}", Zone=zone)
    assert (line["invoice_date"], line["unreadable"]) == (instant, unreadable)


def test_a_time_with_an_offset_needs_no_time_zone(tmp_path: Path):
    line = one(tmp_path, "time_zone: {column: Zone}", Zone="Mars", When="2023-01-05 10:00:00Z")
    assert (line["invoice_date"], line["unreadable"]) == (datetime(2023, 1, 5, 10), None)


RATES = "currency: {column: Money, rates: {USD: 0.79, GBP: 1}}"


@pytest.mark.parametrize(
    ("said", "cells", "price", "unreadable"),
    [
        (RATES, {"Money": "USD"}, 7.9, None),
        (RATES, {"Money": "gbp"}, 10.0, None),
        (RATES, {"Money": "JPY"}, None, ["currency"]),
        (RATES, {"Money": ""}, None, ["currency"]),
        ("currency: {rate: 0.333333}", {}, 3.33333, None),
        ("currency: {rate: 0.0000001}", {"Each": "0.50"}, None, ["unit_price"]),
        ("currency: {sign: $}", {"Each": "$1,234.50"}, 1234.5, None),
        ("currency: {sign: $}", {"Each": "-$2.50"}, -2.5, None),
        ("currency: {sign: $}", {"Each": "($2.50)"}, -2.5, None),
        ("currency: {sign: kr}", {"Each": "2.50 kr"}, 2.5, None),
        ("currency: {sign: $}", {"Each": "£2.50"}, None, ["unit_price"]),
        ("", {"Each": "$2.50"}, None, ["unit_price"]),
    ],
)
def test_prices_are_in_the_shops_currency(tmp_path: Path, said: str, cells: dict, price: float, unreadable: list[str]):
    line = one(tmp_path, said, **cells)
    assert (line["unit_price"], line["unreadable"]) == (price, unreadable)


def test_a_sign_of_currency_hides_no_decimal_mark(tmp_path: Path):
    text = f'{HEADER}\n1,A,CUP,2,2023-01-05,"€1.234,50",17850,France\n1,A,CUP,2,2023-01-05,€1.234,17850,France'
    assert lines_of(tmp_path, text, mapping("currency: {sign: €}"))["unit_price"].to_list() == [1234.5, 1234.0]


def test_two_currencies_without_rates_are_refused_with_both_rows(tmp_path: Path):
    text = f"{HEADER},Money\n1,A,CUP,2,2023-01-05,9.50,1,FR,USD\n2,A,CUP,2,2023-01-05,9.50,1,FR,eur"
    with pytest.raises(InputError, match=r"prices in USD \(row 2\) and in EUR \(row 3\).*currency\.rates"):
        lines_of(tmp_path, text, mapping("currency: {column: Money}"))


def test_only_other_lines_of_an_invoice_are_filled_down(tmp_path: Path):
    lines = [
        "1,A,CUP,2,2023-01-05,10.00,17850,France",
        "1,B,CUP,2,2023-01-05,10.00,,",
        "2,A,CUP,2,2023-01-05,10.00,,",  # a guest: nothing comes from invoice 1
        "1,C,CUP,2,2023-01-05,10.00,12346,",  # a different customer stays visible
        "1,D,CUP,2,2023-01-05,10.00,NULL,",  # and fills down nothing
        "3,A,CUP,2,2023-01-05,10.00,,",
        "3,B,CUP,2,2023-01-05,10.00,18000,Spain",  # nor upwards
        "3,C,CUP,2,2023-01-05,10.00,,",
    ]
    read_ = lines_of(tmp_path, "\n".join([HEADER, *lines]), mapping("fill_down: [customer_id, country]"))
    assert [str(each) for each in read_["customer_id"]] == [
        "17850", "17850", "None", "12346", "17850", "None", "18000", "18000",
    ]  # fmt: skip
    assert read_["country"].to_list() == ["France", "France", None, "France", "France", None, "Spain", "Spain"]


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_an_invoice_is_filled_down_over_the_end_of_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int):
    orders = zip(["1", "", "1", "2", "1", ""], "ABCDEF", ["17850", "", "", "", "", ""], strict=True)
    rows = [f"{order},{sku},1,2023-01-05,2.5,{customer}" for order, sku, customer in orders]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(["Order,Sku,Qty,When,Each,Customer", *rows]))
    monkeypatch.setattr("ncf_pipeline.ingest.readers.text_files._BLOCK", lines * 24)
    filled = mapping("fill_down: [invoice_no, customer_id]")
    with open_file(path, path.name, max_unpacked_mb=100, mapping=filled) as opened:
        assert sum(1 for each in opened.tables for _ in each.chunks()) > 1
    read_ = read(path, filled)
    assert read_["invoice_no"].to_list() == ["1", "1", "1", "2", "1", "1"]
    assert [str(each) for each in read_["customer_id"]] == ["17850", "17850", "17850", "None", "17850", "17850"]


def test_guests_are_who_the_mapping_says(tmp_path: Path):
    line = one(tmp_path, "guests: [Guest@Shop.com, '-1']", Customer="guest@shop.com")
    assert (line["customer_id"], line["unreadable"]) == (None, None)


STATES = """
status: {column: State, counts: [paid, Sent back], takes_back: [refunded], left_out: [on-hold]}
returns: {status: [sent back]}
"""


@pytest.mark.parametrize(
    ("state", "quantity", "left_out", "takes_back", "unreadable"),
    [
        ("paid", 2, None, None, None),
        ("PAID", 2, None, None, None),
        ("sent back", -2, None, None, None),
        ("Refunded", 2, "State is Refunded", True, None),
        ("on hold", 2, "State is on hold", None, None),
        ("lost", 2, None, None, ["status"]),
        ("", 2, None, None, ["status"]),
    ],
)
def test_a_status_says_whether_a_line_counts(
    tmp_path: Path, state: str, quantity: int, left_out: str, takes_back: bool, unreadable: list[str]
):
    line = one(tmp_path, STATES, State=state)
    assert (line["quantity"], line["left_out"], line["takes_back"], line["unreadable"]) == (
        quantity, left_out, takes_back, unreadable,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bought", "returned", "quantity", "left_out", "unreadable"),
    [
        ("3", "1", 2, None, None),
        ("3", "-1", 2, None, None),
        ("3", "", 3, None, None),
        ("3", "3", 0, "all of it was returned", None),
        ("3", "4", -1, None, ["returned_quantity"]),
        ("3", "x", 3, None, ["returned_quantity"]),
        ("0", "", 0, "all of it was returned", None),
    ],
)
def test_a_column_says_how_much_was_returned(
    tmp_path: Path, bought: str, returned: str, quantity: int, left_out: str, unreadable: list[str]
):
    line = one(tmp_path, "returns: {column: Back}", Qty=bought, Back=returned)
    assert (line["quantity"], line["left_out"], line["unreadable"]) == (quantity, left_out, unreadable)


def test_what_is_left_of_a_fraction_has_six_decimals(tmp_path: Path):
    line = one(tmp_path, "returns: {column: Back}\nfractional_quantities: true", Qty="0.3", Back="0.1")
    assert line["quantity"] == 0.2


def test_the_reason_why_a_line_is_left_out_is_text_that_postgres_can_store(tmp_path: Path):
    line = one(tmp_path, "status: {column: State, counts: [paid], left_out: [pending]}", State="pending\x00")
    assert line["left_out"] == "State is pending\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("cell", "quantity", "price"),
    [
        ("0.35", 0.35, 20.0),
        ("2.0", 2.0, 3.5),
        ("-1.5", -1.5, -4.666667),
        ("1e-7", None, None),
        ("1/2", None, None),
    ],
)
def test_quantities_are_fractions_where_the_mapping_says_so(tmp_path: Path, cell: str, quantity: float, price: float):
    said = mapping("fractional_quantities: true", COLUMNS.replace("Each", "{total: Each}"))
    text = f"{HEADER}\n1,A,CUP,{cell},2023-01-05,7.00,17850,France"
    (line,) = lines_of(tmp_path, text, said).to_dicts()
    assert (line["quantity"], line["unit_price"]) == (quantity, price)
    assert line["unreadable"] == (None if quantity else ["quantity"])
    assert one(tmp_path, Qty="0.35")["unreadable"] == ["quantity"]


def test_a_cancelling_invoice_takes_off(tmp_path: Path):
    assert one(tmp_path, "cancellation: ^CN-", Order="CN-7")["quantity"] == -2
    assert one(tmp_path, "cancellation: ^CN-", Order="7")["quantity"] == 2


def test_the_cells_of_the_file_are_kept_and_those_that_are_converted_under_names_of_their_own(tmp_path: Path):
    line = one(tmp_path, RATES, Money="JPY", When="2023-01-05 10:11:12 -0500")
    assert line["unreadable"] == ["currency"]
    assert json.loads(line["original"]) == {
        "invoice_no": "1", "stock_code": "A", "description": "CUP", "quantity_in_file": "2", "country": "France",
        "invoice_date_in_file": "2023-01-05 10:11:12 -0500", "unit_price_in_file": "10.00", "customer_id": "17850",
        "currency": "JPY",
    }  # fmt: skip


def test_lines_that_cannot_be_divided_wait_and_have_nothing_else_to_tell(tmp_path: Path):
    text = f"{HEADER},State\n1,A,CUP,2,2023-01-05,9.50,1,FR,paid\n1,A,CUP,2,2023-01-05,9,50,1,FR,paid"
    read_ = lines_of(tmp_path, text, mapping("status: {column: State, counts: [paid]}\nfill_down: [status]"))
    assert read_["unreadable"].to_list() == [None, ["line"]]
    assert read_["row_number"].to_list() == [2, 3]


def test_packed_text_with_another_delimiter_and_encoding_is_read(tmp_path: Path):
    text = f"{HEADER}\n1,A,ТАРЕЛКА,2,2023-01-05,10.00,17850,Россия\n".replace(",", ";").encode("cp1251")
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress(text))
    read_ = read(tmp_path / "orders.csv.gz", mapping("encoding: cp1251\ndelimiter: ';'"))
    assert read_["description"].to_list() == ["ТАРЕЛКА"]


def test_instants_of_a_parquet_file_are_put_on_the_shops_clock(tmp_path: Path):
    frame = pl.DataFrame(
        {
            "Order": ["1"], "Sku": ["A"], "Qty": [1], "When": [datetime(2023, 7, 5, 10)], "Each": [2.5],
            "Customer": ["17850"],
        }
    ).with_columns(pl.col("When").dt.replace_time_zone("America/New_York"))  # fmt: skip
    frame.write_parquet(tmp_path / "orders.parquet")
    assert read(tmp_path / "orders.parquet", mapping())["invoice_date"].to_list() == [datetime(2023, 7, 5, 15)]


def test_lines_that_were_exported_for_correction_have_our_columns_whatever_the_mapping(tmp_path: Path):
    text = "Quarantine ID,InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    text += "7,1,A,CUP,2,2023-01-05 10:00:00,10.00,17850,France"
    read_ = lines_of(tmp_path, text, mapping("currency: {rate: 2}\ntime_zone: America/New_York"))
    assert read_.select("corrects", "unit_price", "invoice_date").rows() == [(7, 10.0, datetime(2023, 1, 5, 10))]


def test_a_mapping_changes_nothing_of_a_chunks_other_columns():
    assert set(table.CHUNK_SCHEMA) == {"row_number", "broken", "corrects", *COLUMNS_OF_OURS}


COLUMNS_OF_OURS = (
    "invoice_no", "stock_code", "description", "quantity", "invoice_date", "unit_price", "customer_id", "country",
)  # fmt: skip

UCI = """
columns: {invoice_no: InvoiceNo, stock_code: StockCode, description: Description, quantity: Quantity,
  invoice_date: InvoiceDate, unit_price: UnitPrice, customer_id: CustomerID, country: Country}
"""
ALL_DATES = """
time_zone: Europe/London
date_formats: [epoch milliseconds, "%d/%m/%y %H:%M", "%Y%m%d", "%d-%b-%Y %H:%M", "%b %d %Y %I:%M%p", "%a %d %b %Y",
  "%Y-%m-%d %I:%M:%S %p", "%y-%m-%d %H:%M:%S", "%Y.%m.%d %H:%M"]
"""


@pytest.mark.parametrize(
    ("name", "said", "customers"),
    [
        ("d_first.csv", mapping("fill_down: [customer_id]", UCI), ["17850"] * 3),
        ("x07_merged.xlsx", mapping("fill_down: [invoice_no, invoice_date, customer_id, country]", UCI), ["17850"] * 4),
        ("x24_orii.xlsx", ready()["online-retail-ii"], ["17850"] * 3),
        ("s_part1.csv", ready()["uci"], ["17850"] * 6),
        ("shopify.csv", ready()["shopify"], ["a@example.com"] * 2),
        ("woo.csv", ready()["woocommerce"], ["None"]),
        ("square.csv", ready()["square"], ["None"]),
    ],
)
def test_each_case_has_its_customers(name: str, said: Mapping, customers: list[str]):
    read_ = read(case(name), said)
    assert [str(each) for each in read_["customer_id"]] == customers
    assert read_["unreadable"].to_list() == [None] * len(customers)


def test_the_dates_of_the_case_are_read_by_the_mappings_clock():
    read_ = read(case("i_dates.csv"), mapping(ALL_DATES, UCI))
    unread = read_.filter(pl.col("unreadable").is_not_null())["invoice_no"].to_list()
    assert unread == ["I0007", "I0012", "I0013"]  # an hour 24, days since an epoch, the 29th of February in 2011
    assert read_.filter(invoice_no="I0002")["invoice_date"].to_list() == [datetime(2011, 1, 13, 13, 26)]
    assert set(read_["invoice_date"].dt.date().drop_nulls()) == {datetime(2011, 1, 13).date()}
