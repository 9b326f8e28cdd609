"""One spelling for each code, guests in the spellings of programs, and what a workbook hides."""

import io
import zipfile
from datetime import datetime

import openpyxl
import pandas as pd
import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.given import Given
from ncf_pipeline.ingest.readers.cells import as_typed
from ncf_pipeline.ingest.readers.file_kinds import open_file

NAMES = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
USUAL = ["536365", "85123A", "HEART", "6", "2010-12-01 08:26:00", "2.55", "17850", "France"]
TYPED = ["536365", "85123A", "HEART", 6, datetime(2010, 12, 1, 8, 26), 2.55, 17850, "France"]


def line(**cells):
    return list((dict(zip(NAMES, USUAL, strict=True)) | cells).values())


def text_file(folder, *lines):
    path = folder / "a.csv"
    pd.DataFrame(lines, columns=NAMES).to_csv(path, index=False)
    return path


def workbook(folder, *lines, other=(), **state):
    """A workbook with a sheet `Sales`, and a sheet `Old` in a state."""
    book = openpyxl.Workbook()
    book.active.title = "Sales"
    for row in [NAMES, *lines]:
        book.active.append(row)
    if other:
        old = book.create_sheet("Old")
        for row in [NAMES, *other]:
            old.append(row)
        old.sheet_state = state["state"]
    book.save(folder / "a.xlsx")
    return folder / "a.xlsx"


def read(path, said=None):
    """The typed lines, and the file's note."""
    with open_file(path, path.name, max_unpacked_mb=100, given=said) as opened:
        rows = [row for table in opened.tables for chunk in table.chunks()
                for row in as_typed(chunk, table.dialect).iter_rows(named=True)]  # fmt: skip
        return rows, opened.note


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ('="00123"', "00123"),
        ("'00123", "00123"),
        ("00123", "00123"),
        ("85123A\u200b", "85123A"),
        ("85123A\u00a0", "85123A"),
        ("8512\u00ad3A", "85123A"),
        ("\ufeff85123A", "85123A"),
        ("\u202d85123A\u202c", "85123A"),
        ("8512\uff13A", "85123A"),
        ("85123\u0410", "85123\u0410"),  # looks alike, but is another letter
        ("O'NEILL", "O'NEILL"),
        ("'O'NEILL", "O'NEILL"),
        ("'quoted'", "'quoted'"),
    ],
)
def test_a_code_has_one_spelling(tmp_path, written, code):
    ((row,), _) = read(text_file(tmp_path, line(StockCode=written, InvoiceNo=written)))
    assert (row["stock_code"], row["invoice_no"], row["unreadable"]) == (code, code, None)


def test_codes_that_a_person_may_confuse_are_told(tmp_path):
    _, note = read(text_file(tmp_path, line(), line(StockCode="85123\u0410")))
    assert note.startswith("row 3, StockCode: 85123\u0410 has letters of another alphabet that look like Latin ones")
    _, note = read(text_file(tmp_path, line(StockCode="123"), line(StockCode="00123")))
    assert note == "row 3, StockCode: 00123 and row 2: 123 are two products; did a spreadsheet take zeros off"
    _, note = read(text_file(tmp_path, line(StockCode="\u0410\u0411\u0412-1")))
    assert note is None


@pytest.mark.parametrize("mark", ["", "NULL", "null", "nan", "NaN", "\\N", "N/A", "None", "NA", "0", "0.0", " "])
def test_a_guest_is_a_guest_in_the_spelling_of_any_program(tmp_path, mark):
    ((row,), _) = read(text_file(tmp_path, line(CustomerID=mark)))
    assert (row["customer_id"], row["unreadable"]) == (None, None)


@pytest.mark.parametrize("mark", ["-1", "guest", "Anonymous", "#N/A", "17850.5"])
def test_what_is_neither_a_customer_nor_a_usual_mark_is_unreadable(tmp_path, mark):
    ((row,), _) = read(text_file(tmp_path, line(CustomerID=mark)))
    assert row["unreadable"] == ["customer_id"]


def test_a_customers_id_may_be_kept_from_becoming_a_number(tmp_path):
    ((row,), _) = read(text_file(tmp_path, line(CustomerID='="17850"')))
    assert row["customer_id"] == "17850"


@pytest.mark.parametrize("error", ["#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#N/A", "#WERT!", "#¡REF!"])
@pytest.mark.parametrize(
    ("name", "column"), [("StockCode", "stock_code"), ("Description", "description"), ("Country", "country")]
)
def test_an_error_of_a_spreadsheet_is_no_text(tmp_path, error, name, column):
    ((row,), _) = read(text_file(tmp_path, line(**{name: error})))
    assert row["unreadable"] == [column]


def test_a_code_is_the_same_in_a_column_of_doubles(tmp_path):
    frame = pd.DataFrame([TYPED, TYPED], columns=NAMES)
    frame["StockCode"] = [5012345678900.0, 71053.0]
    frame.to_parquet(tmp_path / "a.parquet")
    rows, _ = read(tmp_path / "a.parquet")
    assert [row["stock_code"] for row in rows] == ["5012345678900", "71053"]
    frame["StockCode"] = [5.0123456789012345e18, 71053.0]
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"row 2, StockCode: 5\.\d+e\+18 has lost digits"):
        read(tmp_path / "a.parquet")


def test_a_hidden_sheet_is_read_only_if_a_person_names_it(tmp_path):
    path = workbook(tmp_path, TYPED, other=[TYPED, TYPED], state="hidden")
    rows, note = read(path)
    assert len(rows) == 1
    assert note == "sheets left out: 'Old' (hidden)"
    rows, note = read(path, Given(sheets=("Old",)))
    assert len(rows) == 2
    assert note == "sheets left out: 'Sales'"
    path = workbook(tmp_path, TYPED, other=[TYPED, TYPED], state="veryHidden")
    assert len(read(path)[0]) == 1


def test_a_formula_that_was_never_computed_is_no_empty_cell(tmp_path):
    path = workbook(tmp_path, TYPED, [*TYPED[:6], "=VLOOKUP(A2,Old!A:B,2)", TYPED[7]], [*TYPED[:2], "=A1", *TYPED[3:]])
    rows, _ = read(path)
    assert [row["unreadable"] for row in rows] == [None, ["customer_id"], ["description"]]
    assert '"customer_id": "#FORMULA! =VLOOKUP(A2,Old!A:B,2)"' in rows[1]["original"]


@pytest.mark.parametrize("as_number", [False, True])
def test_a_workbook_may_count_days_from_1904(tmp_path, as_number):
    book = openpyxl.Workbook()
    book.epoch = openpyxl.utils.datetime.MAC_EPOCH
    for row in [NAMES, [*TYPED[:4], 39051.35138888889 if as_number else TYPED[4], *TYPED[5:]]]:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.xlsx")[0][0]["invoice_date"] == TYPED[4]
    # Excel itself writes a second element of the name, in an extension.
    as_excel_writes_it(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.xlsx")[0][0]["invoice_date"] == TYPED[4]


def as_excel_writes_it(path):
    extension = (
        b'<extLst><ext uri="{140A7094-0E35-4892-8432-C4D2E57EDEB5}" '
        b'xmlns:x15="http://schemas.microsoft.com/office/spreadsheetml/2010/11/main">'
        b'<x15:workbookPr chartTrackingRefBase="1"/></ext></extLst></workbook>'
    )
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b"</workbook>", extension) if name == "xl/workbook.xml" else content)
    path.write_bytes(out.getvalue())


def test_a_code_has_the_zeros_that_a_workbook_shows(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["", *NAMES])
    day = datetime(2010, 12, 1, 8, 26)
    for code, customer in ((123, 17), (1234567, 0), ("00123", None), ("A", 18)):
        book.active.append(["", 536365, code, "HEART", 6, day, 2.5, customer, "France"])
    for row in book.active.iter_rows(min_row=2):
        row[2].number_format = "00000"
        row[4].number_format = "000"
        row[7].number_format = "0000000"
    book.active["C2"].value, book.active["B2"].number_format = 123, "0"
    book.save(tmp_path / "a.xlsx")
    rows, _ = read(tmp_path / "a.xlsx")
    assert [row["stock_code"] for row in rows] == ["00123", "1234567", "00123", "A"]
    assert [row["customer_id"] for row in rows] == ["0000017", None, None, "0000018"]
    assert [(row["invoice_no"], row["quantity"], row["unreadable"]) for row in rows] == [("536365", 6, None)] * 4


def test_a_table_in_a_workbook_may_begin_in_any_column_and_row(tmp_path):
    book = openpyxl.Workbook()
    lines = [TYPED, [*TYPED[:6], "=A1", TYPED[7]], ["#N/A", *TYPED[1:]], [*TYPED[:2], None, *TYPED[3:]]]
    for at, row in enumerate([NAMES, *lines], 3):
        for position, cell in enumerate(row, 4):
            book.active.cell(at, position, cell)
    book.save(tmp_path / "a.xlsx")
    rows, _ = read(tmp_path / "a.xlsx")
    assert [row["unreadable"] for row in rows] == [None, ["customer_id"], ["invoice_no"], None]
    assert [row["row_number"] for row in rows] == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("numbers", "read_as"),
    [
        # quantity and price
        ([("1.000", 2.55), ("2.400", 1.234)], None),
        ([(6, "2,55"), (6, 1.234)], [(6, 2.55), (6, 1.234)]),
        ([(6, "1.234,50"), (6, "1.234"), (7, 1.234)], [(6, 1234.5), (6, 1234.0), (7, 1.234)]),
        ([("1,000", 2.5), (6, "1,234.50")], [(1000, 2.5), (6, 1234.5)]),
        ([(6, 1.234)], [(6, 1.234)]),
    ],
)
def test_a_number_of_a_workbook_says_nothing_of_the_marks_in_texts(tmp_path, numbers, read_as):
    lines = [[*TYPED[:3], quantity, TYPED[4], price, *TYPED[6:]] for quantity, price in numbers]
    path = workbook(tmp_path, *lines)
    if read_as is None:
        with pytest.raises(InputError, match=r"row 2, Quantity: 1\.000 .*could be 1\.000 or 1000"):
            read(path)
        return
    rows, _ = read(path)
    assert [(row["quantity"], row["unit_price"]) for row in rows] == read_as


@pytest.mark.parametrize("name", ["InvoiceNo", "StockCode"])
def test_a_code_that_a_workbook_keeps_as_a_number_with_too_many_digits_is_refused(tmp_path, name):
    at = NAMES.index(name)
    path = workbook(tmp_path, TYPED, [*TYPED[:at], 1234567890123456789, *TYPED[at + 1 :]])
    with pytest.raises(InputError, match=rf"row 3, {name}: 1\.234567890123457e\+18 has lost digits"):
        read(path)
    as_text = [*TYPED[:at], "1234567890123456789", *TYPED[at + 1 :]]
    rows, _ = read(workbook(tmp_path, TYPED, as_text, [*TYPED[:at], 5012345678900, *TYPED[at + 1 :]]))
    column = {"InvoiceNo": "invoice_no", "StockCode": "stock_code"}[name]
    assert [row[column] for row in rows][1:] == ["1234567890123456789", "5012345678900"]
