"""What a file says of itself, decided from all of it: dates, marks in numbers, encoding, stray quotes, lost digits."""

import csv
import io
import json
from datetime import datetime, timedelta

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.given import Given
from ncf_pipeline.ingest.readers.cells import as_typed
from ncf_pipeline.ingest.readers.file_kinds import open_file

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
NAMES = HEADER.split(",")
USUAL = {
    "invoice": "536365", "code": "85123A", "text": "HEART", "quantity": "6", "date": "2010-12-01 08:26:00",
    "price": "2.55", "customer": "17850", "country": "France",
}  # fmt: skip


def line(delimiter=",", **cells):
    return delimiter.join((USUAL | cells).values())


def of_dates(*dates):
    return [line(date=date) for date in dates]


def of_prices(*prices, delimiter=";"):
    return [line(delimiter, price=price) for price in prices]


def write(folder, lines, *, name="a.csv", encoding="utf-8", header=HEADER):
    path = folder / name
    content = "\n".join([header, *lines])
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def sheet(folder, rows):
    book = openpyxl.Workbook()
    for row in [NAMES, *rows]:
        book.active.append(row)
    book.save(folder / "a.xlsx")
    return folder / "a.xlsx"


def read(path, said=None):
    """The typed lines of a file, as dictionaries."""
    with open_file(path, path.name, max_unpacked_mb=100, given=said) as opened:
        return [row for table in opened.tables for chunk in table.chunks()
                for row in as_typed(chunk, table.dialect).iter_rows(named=True)]  # fmt: skip


def column(rows, name):
    return [row[name] for row in rows]


@pytest.mark.parametrize(
    ("dates", "read_as"),
    [
        (["13/01/2011 08:20", "13/01/2011"], [datetime(2011, 1, 13, 8, 20), datetime(2011, 1, 13)]),
        (["12/13/2010 9:02"], [datetime(2010, 12, 13, 9, 2)]),
        (["01/02/2011", "13/02/2011"], [datetime(2011, 2, 1), datetime(2011, 2, 13)]),
        (["01/02/2011", "02/13/2011"], [datetime(2011, 1, 2), datetime(2011, 2, 13)]),
        (["05/05/2011", "2011-01-13"], [datetime(2011, 5, 5), datetime(2011, 1, 13)]),
        (["1.2.2011"], [datetime(2011, 2, 1)]),
        (["13-01-2011", "01-02-2011"], [datetime(2011, 1, 13), datetime(2011, 2, 1)]),
        # Only the month is padded, as in Australia.
        (["13/01/2011", "1/02/2011"], [datetime(2011, 1, 13), datetime(2011, 2, 1)]),
        (["4/04/2011"], [datetime(2011, 4, 4)]),
    ],
)
def test_the_order_of_day_and_month_is_what_the_files_dates_prove(tmp_path, dates, read_as):
    assert column(read(write(tmp_path, of_dates(*dates))), "invoice_date") == read_as


@pytest.mark.parametrize("proof", [0, 59_999], ids=["early", "late"])
def test_one_proof_is_enough_wherever_it_is_in_a_long_file(tmp_path, proof):
    dates = ["03/02/2011"] * 60_000
    dates[proof] = "13/02/2011"
    read_as = set(column(read(write(tmp_path, of_dates(*dates))), "invoice_date"))
    assert read_as == {datetime(2011, 2, 3), datetime(2011, 2, 13)}


REFUSED = [
    (
        "both orders",
        of_dates("13/01/2011 08:26", "01/13/2011 08:26"),
        "row 2 has 13/01/2011 08:26 (the day is first), and row 3 has 01/13/2011 08:26",
    ),
    (
        "no proof",
        of_dates("2011-01-02", "01/02/2011", "02/03/2011"),
        "row 3: 01/02/2011 and row 4: 02/03/2011 could have the day or the month first",
    ),
    (
        "saved by another country's Excel",
        of_dates("13/01/2011 08:26", "1/2/2011 8:26"),
        "opened and saved in another country's Excel",
    ),
    ("1.234 alone", of_prices("1.234", "2"), "row 2, UnitPrice: 1.234 could be 1.234 or 1234"),
    (
        "1,234 alone",
        of_prices("7,234", "1,999"),
        "row 2, UnitPrice: 7,234 and row 3, UnitPrice: 1,999 could be 7.234 or 7234",
    ),
    ("1.000 pieces", [line(quantity="1.000", price="3")], "row 2, Quantity: 1.000 could be 1.000 or 1000"),
    ("both marks", of_prices("2,55", "2.55"), "mixes two ways to write numbers: row 3 has 2.55, and row 2 has 2,55"),
    ("an invoice in scientific form", [line(invoice="5.36E+12")], "row 2, InvoiceNo: 5.36E+12 has lost digits"),
    ("a product in scientific form", [line(), line(code="5.01E+12")], "row 3, StockCode: 5.01E+12 has lost digits"),
    ("codes of 15 digits", [line(code="1234567890123450000")], "StockCode: 1234567890123450000 has lost digits"),
]


@pytest.mark.parametrize(("lines", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_a_file_leaves_open_is_refused_with_example_rows(tmp_path, lines, message):
    header = HEADER.replace(",", ";") if ";" in lines[0] else HEADER
    with pytest.raises(InputError) as raised:
        read(write(tmp_path, lines, header=header))
    assert message in str(raised.value)
    assert str(raised.value).startswith("a.csv")
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")


def test_what_a_person_says_of_a_source_decides_where_the_file_does_not(tmp_path):
    path = write(tmp_path, of_dates("01/02/2011"))
    assert column(read(path, Given(date_order="month first")), "invoice_date") == [datetime(2011, 1, 2)]
    path = write(tmp_path, of_prices("1.234"), header=HEADER.replace(",", ";"))
    assert column(read(path, Given(decimal_mark=",")), "unit_price") == [1234.0]
    path = write(tmp_path, of_prices("1", delimiter="^"), header=HEADER.replace(",", "^"))
    assert column(read(path, Given(delimiter="^")), "unit_price") == [1.0]
    path = write(tmp_path, [line(text="ЧАШКА")], encoding="cp1251")
    assert column(read(path, Given(encoding="cp1251")), "description") == ["ЧАШКА"]


@pytest.mark.parametrize(
    ("prices", "read_as"),
    [
        (["2,55", "1.234,50", "1.234", "7"], [2.55, 1234.5, 1234.0, 7.0]),
        (["2.55", "1,234.50", "1,234", "7"], [2.55, 1234.5, 1234.0, 7.0]),
        (["1.234.567", "1.234"], [1234567.0, 1234.0]),
        (["0.125", "1.125"], [0.125, 1.125]),
        # Most numbers have a point. One has a comma, so 1.005 is not sure any more.
        (["2.55", "3.10", "4.5", "2,55", "1.005"], [2.55, 3.1, 4.5, None, None]),
    ],
)
def test_the_decimal_mark_is_what_the_files_numbers_prove(tmp_path, prices, read_as):
    rows = read(write(tmp_path, of_prices(*prices), header=HEADER.replace(",", ";")))
    assert column(rows, "unit_price") == read_as


def test_prices_prove_the_mark_of_quantities_too(tmp_path):
    lines = [line(";", quantity="1.000", price="2,55"), line(";", quantity="2.400", price="2,55", customer="17.000")]
    rows = read(write(tmp_path, lines, header=HEADER.replace(",", ";")))
    assert column(rows, "quantity") == [1000, 2400]
    assert column(rows, "unreadable") == [None, ["customer_id"]]


def test_a_sheet_that_was_opened_in_another_country_is_refused(tmp_path):
    typed = [536365, "85123A", "HEART", 6, None, 2.55, 17850, "France"]
    swapped = [[*typed[:4], date, *typed[5:]] for date in (datetime(2010, 1, 12, 8, 26), "12/13/2010 8:26")]
    with pytest.raises(
        InputError, match=r"row 3 has 12/13/2010 8:26 as text .*no real date has a day above 12 \(row 2"
    ):
        read(sheet(tmp_path, swapped))
    fine = [*swapped, [*typed[:4], datetime(2010, 1, 31), *typed[5:]]]
    assert column(read(sheet(tmp_path, fine)), "invoice_date")[1] == datetime(2010, 12, 13, 8, 26)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("CAFÉ CRÈME à la carte 2ème", "cp1252"),
        ("PRICE £5 – “NEW” 20°C", "cp1252"),
        ("Größe Ø15 Straße", "cp1252"),
        ("¿Qué? El Niño", "cp1252"),
        ("ЧАШКА", "utf-8"),
        ("茶碗", "utf-16"),
    ],
)
def test_an_encoding_that_the_file_proves_is_read(tmp_path, text, encoding):
    assert column(read(write(tmp_path, [line(text=text)], encoding=encoding)), "description") == [text]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("ЧАШКА", "cp1251"),
        ("Чашка с блюдцем", "koi8-r"),
        ("茶碗とカップ", "shift_jis"),
        ("ｶｯﾌﾟ", "shift_jis"),
        ("茶杯红色", "gbk"),
        ("Łódź łyżka żółta", "cp1250"),
        ("Çay bardağı şık", "cp1254"),
        ("Ποτήρι", "cp1253"),
        ("für Köln, crème", "cp850"),
        ("für Café", "mac_roman"),
    ],
)
def test_another_encoding_is_not_taken_for_windows_1252(tmp_path, text, encoding):
    with pytest.raises(InputError, match=r"a\.csv, row 3: the encoding is not UTF-8.*Save it as CSV in UTF-8"):
        read(write(tmp_path, [line(), line(text=text)], encoding=encoding))


def test_a_line_with_a_stray_byte_in_a_file_of_utf_8_is_broken_alone(tmp_path):
    path = tmp_path / "a.csv"
    good = line(code="ÄB1", text="CAFÉ").encode()
    path.write_bytes(b"\n".join([HEADER.encode(), good, line(text="PRICE £5").encode("cp1252"), good]))
    rows = read(path)
    assert column(rows, "unreadable") == [None, ["line"], None]
    assert column(rows, "description") == ["CAFÉ", None, "CAFÉ"]
    path.write_bytes(b"\n".join([HEADER.encode(), good, *[line(text="CAFÉ").encode("cp1252")] * 5]))
    with pytest.raises(InputError, match=r"mixes encodings: row 2 is UTF-8 \(ÄB1\), and row 3 is not"):
        read(path)


def test_a_stray_quote_breaks_its_own_line_alone(tmp_path):
    others = [line(invoice=str(536366 + number)) for number in range(10)]
    lines = [line(text='"CREAM BOWL 12 INCH'), *others, line(text='MIRROR 6"'), line(text='"A ""B"", C"')]
    rows = read(write(tmp_path, lines))
    assert column(rows, "row_number") == list(range(2, 15))
    assert column(rows, "unreadable") == [["line"]] + [None] * 12
    assert column(rows, "invoice_no")[1:11] == [str(536366 + number) for number in range(10)]
    assert column(rows, "description")[-2:] == ['MIRROR 6"', 'A "B", C']
    assert (
        rows[0]["original"]
        == '{"line": "536365,85123A,\\"CREAM BOWL 12 INCH,6,2010-12-01 08:26:00,2.55,17850,France\\n"}'
    )


@pytest.mark.parametrize(
    ("lines", "broken"),
    [
        (['"', line()], [True, False]),
        ([line(country='"France'), "", "x"], [True, True]),
        ([line(text='"A'), 'B" C,6', line()], [True, True, False]),
        ([line(text='"A" x'), line()], [True, False]),
        ([line(text='"A'), "B", line(text='"C"')], [True, True, False]),
        ([line(text='"A'), line(text='"B'), line()], [True, True, False]),
    ],
)
def test_each_line_of_a_broken_record_goes_its_own_way(tmp_path, lines, broken):
    assert column(read(write(tmp_path, lines)), "unreadable") == [["line"] if each else None for each in broken]


def test_a_record_may_have_several_lines_also_where_blocks_meet(tmp_path, monkeypatch):
    monkeypatch.setattr("ncf_pipeline.ingest.readers.text_files._BLOCK", 150)
    texts = [f"A\n{'B' * number}\n, {number}" for number in range(50)]
    rows = read(write(tmp_path, [line(text=f'"{text}"', invoice=str(number)) for number, text in enumerate(texts)]))
    assert column(rows, "description") == texts
    assert column(rows, "row_number") == [2 + 3 * number for number in range(50)]


@pytest.mark.parametrize("names", [["Description", "InvoiceNo"], ["InvoiceNo", "Description"]], ids=["first", "second"])
@pytest.mark.parametrize("end", ["", ","], ids=["", "trailing delimiter"])
def test_a_text_of_several_lines_may_look_like_a_row_in_its_last_line(tmp_path, names, end):
    order = [*names, *[name for name in NAMES if name not in names]]
    cells = dict(zip(NAMES, line().split(","), strict=True))
    lines = [
        ",".join((cells | {"Description": text})[name] for name in order) + end
        for text in ('"two\nlines"', "A", '"b\n\nc, d"')
    ]
    rows = read(write(tmp_path, [*lines, *[end * 8] * 2], header=",".join(order)))
    assert column(rows, "description") == ["two\nlines", "A", "b\n\nc, d"]
    assert column(rows, "unreadable") == [None] * 3


@pytest.mark.parametrize(
    "text",
    [
        "SET OF\n3, 4, x",
        "a, b, c, d, e, f, g, h\ni",
        "0\n1, 2, 3, 4, 5, 6, 7, 8\n9",
        "\n\n,,,,,,,\n!",
        ',\n",',
        "536366, see\n536367, 85123A",
    ],
)
@pytest.mark.parametrize("end", ["", ","], ids=["", "trailing delimiter"])
@pytest.mark.parametrize("last", [False, True])
def test_a_text_may_have_lines_with_as_many_delimiters_as_a_row(tmp_path, text, end, last):
    order = [name for name in NAMES if name != "Description"]
    order.insert(len(order) if last else 2, "Description")
    written = [
        ",".join((dict(zip(NAMES, line().split(","), strict=True)) | {"Description": each})[name] for name in order)
        for each in ('"' + text.replace('"', '""') + '"', "MUG")
    ]
    rows = read(write(tmp_path, [f"{each}{end}" for each in written], header=",".join(order)))
    assert column(rows, "description") == [text.strip(), "MUG"]
    assert column(rows, "unreadable") == [None] * 2


def test_a_record_of_several_lines_waits_whole(tmp_path):
    rows = read(write(tmp_path, [line(text='"two\nlines"', price="2,55"), line()]))
    assert column(rows, "unreadable") == [["line"], None]
    assert json.loads(rows[0]["original"])["line"].count("\n") == 2


def test_lines_of_which_nobody_can_tell_whether_they_are_one_wait_together(tmp_path):
    cut_off, inch = '536366,85123A,"HEART', line(invoice="536367", text='MIRROR 6"')
    rows = read(write(tmp_path, [line(), cut_off, inch, line()]))
    assert column(rows, "unreadable") == [None, ["line"], None]
    assert json.loads(rows[1]["original"]) == {"line": f"{cut_off}\n{inch}\n"}


def test_every_cell_may_be_quoted_and_every_line_end_with_a_delimiter(tmp_path):
    cells = ['"=""536365"""', '"85123A"', '"a\n\nb"', '"6"', '"2010-12-01"', '"2.55"', '"17850"', '"France"', '""']
    rows = read(write(tmp_path, [",".join(cells)] * 2))
    assert column(rows, "description") == ["a\n\nb"] * 2
    assert column(rows, "unreadable") == [None] * 2


def test_thousands_of_stray_quotes_do_not_take_long(tmp_path):
    rows = read(write(tmp_path, [line(text='"A')] * 20_000))
    assert column(rows, "unreadable") == [["line"]] * 20_000


def test_text_under_a_column_without_a_name_breaks_its_line(tmp_path):
    lines = [f"{line(price='2,55')},", f"{line()},", f"{line()},x"]
    assert column(read(write(tmp_path, lines, header=f"{HEADER},")), "unreadable") == [["line"], None, ["line"]]


def test_numbers_of_the_rows_may_stand_before_the_first_column(tmp_path):
    rows = read(write(tmp_path, [f"{number},{line()}" for number in range(3)], header=f",{HEADER}"))
    assert column(rows, "unreadable") == [None] * 3


def test_a_delimiter_at_the_end_of_every_line_is_no_cell_unless_prices_may_have_been_cut(tmp_path):
    assert column(read(write(tmp_path, [f"{line()},"] * 2)), "unreadable") == [None, None]
    shifted = line(price="2,55", country="").replace(",France", ",")
    assert column(read(write(tmp_path, [shifted] * 2)), "unreadable") == [["line"]] * 2
    assert column(read(write(tmp_path, [line(), f"{line()},"])), "unreadable") == [None, ["line"]]


def test_a_header_may_have_line_breaks(tmp_path):
    header = HEADER.replace("InvoiceNo", '"Invoice\nNo"')
    assert column(read(write(tmp_path, [line()], header=header)), "row_number") == [3]


CODES = st.sampled_from(["536365", "C536379", "00123", "85123A", "71053.5x", "ÄB1"])
# Neither errors of a spreadsheet nor what programs write for an empty cell.
TEXTS = st.text(st.characters(categories=["L", "N", "P", "S", "M"], exclude_characters='"#'), max_size=8).filter(
    lambda text: text.lower() not in {"null", "(null)", "nan", "<na>", "none", "n/a", "\\n"}
)
CUSTOMERS = st.one_of(
    st.integers(1, 99_999).map(str),
    st.sampled_from(["anna@example.com", "C-1001", "00123", "a b", "x:y", "%", "O'Neill"]),
)
LINES = st.lists(
    st.fixed_dictionaries(
        {
            "invoice_no": CODES,
            "stock_code": CODES,
            "description": st.one_of(TEXTS, st.sampled_from(['6" x, y', "two\nlines", 'a "b"'])),
            "quantity": st.integers(-20_000, 20_000),
            "invoice_date": st.integers(0, 500_000).map(
                lambda minute: datetime(2011, 1, 1) + timedelta(minutes=minute)
            ),
            "unit_price": st.integers(0, 500_000).map(lambda cents: cents / 100),
            "customer_id": st.one_of(st.none(), CUSTOMERS),
            "country": st.sampled_from(["France", "Österreich"]),
        }
    ),
    min_size=1,
    max_size=12,
)
FORMS_OF_DATES = [
    "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p",
]  # fmt: skip
PROOF = {
    "invoice_no": "1", "stock_code": "A", "description": "B", "quantity": 1, "invoice_date": datetime(2011, 12, 25),
    "unit_price": 0.55, "customer_id": "1", "country": "France",
}  # fmt: skip


def number_text(number, mark, *, grouped, decimals):
    text = f"{number:,.{decimals}f}" if grouped else f"{number:.{decimals}f}"
    return text if mark == "." else text.translate(str.maketrans(".,", ",."))


@given(
    lines=LINES,
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    mark=st.sampled_from([".", ","]),
    grouped=st.booleans(),
    dates=st.sampled_from(FORMS_OF_DATES),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_shop_in_any_dialect_is_read_as_it_was_written(
    tmp_path_factory, lines, delimiter, mark, grouped, dates, encoding, quoting, end
):
    lines = [*lines, PROOF]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(NAMES)
    for each in lines:
        quantity = number_text(each["quantity"], mark, grouped=grouped, decimals=0)
        price = number_text(each["unit_price"], mark, grouped=grouped, decimals=2)
        texts = {"quantity": quantity, "unit_price": price, "invoice_date": each["invoice_date"].strftime(dates)}
        writer.writerow([(each | texts)[name] for name in PROOF])
    path = tmp_path_factory.mktemp("shop") / "a.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    wanted = [{**each, "description": each["description"].strip() or None} for each in lines]
    assert [{name: row[name] for name in PROOF} for row in read(path)] == wanted
