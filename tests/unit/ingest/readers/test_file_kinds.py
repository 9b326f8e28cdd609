"""Any file is read, or refused in one line that says what is wrong and what to do."""

import gzip
import io
import os
import tempfile
import zipfile
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.file_kinds import open_file

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINE = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom"
NAMES = HEADER.split(",")
CELLS = ["536365", "85123A", "HOLDER", "6", "2010-12-01 08:26:00", "2.55", "17850", "United Kingdom"]


def read(path, max_unpacked_mb=100):
    """All lines of all tables of a file, its ignored columns, and its note."""
    with open_file(path, path.name, max_unpacked_mb=max_unpacked_mb) as opened:
        chunks = [chunk for table in opened.tables for chunk in table.chunks()]
        ignored = [name for table in opened.tables for name in table.ignored]
        return pl.concat(chunks) if chunks else pl.DataFrame(), ignored, opened.note


def cells(frame, row=0):
    return list(frame.row(row)[1:9])


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def workbook(folder, sheets, name="book.xlsx"):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(folder / name)
    return folder / name


TYPED = [536365, "85123A", "HOLDER", 6, datetime(2010, 12, 1, 8, 26), 2.55, 17850, "United Kingdom"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("packed", [False, True])
def test_text_is_read_in_any_encoding_and_with_any_delimiter(tmp_path, encoding, delimiter, packed):
    text = f"{HEADER}\n{LINE}\n".replace("HOLDER", "CAFÉ £").replace(",", delimiter).encode(encoding)
    path = written(tmp_path, "a.csv.gz" if packed else "a.csv", gzip.compress(text) if packed else text)
    frame, _, _ = read(path)
    assert cells(frame) == [cell.replace("HOLDER", "CAFÉ £") for cell in CELLS]


def test_an_encoding_that_fits_only_the_beginning_is_not_taken(tmp_path):
    lines = "\n".join([HEADER, *[LINE] * 30_000, LINE.replace("HOLDER", "CAFÉ")])
    frame, _, _ = read(written(tmp_path, "a.csv", lines.encode("cp1252")))
    assert cells(frame, 30_000)[2] == "CAFÉ"


def test_line_ends_may_be_mixed_and_rows_are_counted_as_an_editor_does(tmp_path):
    quoted = LINE.replace("HOLDER", '"A\nHOLDER"')
    frame, _, _ = read(written(tmp_path, "a.csv", f"{HEADER}\r\n{LINE}\r{quoted}\n\n{LINE}"))
    assert frame["row_number"].to_list() == [2, 3, 6]
    assert cells(frame, 1)[2] == "A\nHOLDER"


@pytest.mark.parametrize(
    "header",
    [
        "Invoice No,Stock Code,Description,Quantity,Invoice Date,Unit Price,Customer ID,Country",
        "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country",
        "INVOICENO,STOCKCODE,DESCRIPTION,QUANTITY,INVOICEDATE,UNITPRICE,CUSTOMERID,COUNTRY",
        "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country",
    ],
)
def test_columns_are_recognised_in_any_spelling(tmp_path, header):
    frame, _, _ = read(written(tmp_path, "a.csv", f"{header}\n{LINE}\n"))
    assert cells(frame) == CELLS


def test_columns_may_be_in_any_order_and_others_are_ignored_and_named(tmp_path):
    order = [7, 3, 1, 0, 2, 6, 5, 4]
    lines = [["Shop", *(row[at] for at in order), "Note"] for row in (NAMES, CELLS)]
    lines[1][0], lines[1][-1] = "1", "gift"
    frame, ignored, _ = read(written(tmp_path, "a.csv", "\n".join(",".join(line) for line in lines)))
    assert cells(frame) == CELLS
    assert ignored == ["Shop", "Note"]


def test_a_line_with_too_many_or_too_few_cells_is_kept_as_text(tmp_path):
    content = "\n".join([HEADER, LINE, f"{LINE},more", LINE.rpartition(",")[0], f"{LINE},,", f'"x"y,{LINE}'])
    frame, _, _ = read(written(tmp_path, "a.csv", content))
    assert frame["broken"].to_list() == [
        None, f"{LINE},more\n", LINE.rpartition(",")[0] + "\n", f"{LINE},,\n", f'"x"y,{LINE}',
    ]  # fmt: skip


def test_a_workbook_keeps_codes_as_text_and_counts_rows_as_excel_does(tmp_path):
    rows = [["Sales of December"], [], NAMES, TYPED, ["C536379", 71053, None, -1, TYPED[4], 1, None, "France"]]
    frame, _, _ = read(workbook(tmp_path, {"Sales": rows}))
    assert frame["row_number"].to_list() == [4, 5]
    assert cells(frame) == CELLS
    assert cells(frame, 1) == ["C536379", "71053", None, "-1", "2010-12-01 08:26:00", "1", None, "France"]


def test_an_error_in_a_cell_of_a_workbook_does_not_become_an_empty_cell(tmp_path):
    path = workbook(tmp_path, {"Sales": [NAMES, TYPED]})
    book = openpyxl.load_workbook(path)
    book.active["G2"] = "#N/A"
    book.active["G2"].data_type = "e"
    book.save(path)
    assert cells(read(path)[0])[6] == "#N/A"


def test_every_sheet_with_the_columns_is_read_and_the_others_are_named(tmp_path):
    path = workbook(tmp_path, {"2009": [NAMES, TYPED], "Notes": [["hello"]], "2010": [NAMES, TYPED, TYPED]})
    frame, _, note = read(path)
    assert len(frame) == 3
    assert note == "sheets left out: 'Notes'"


def test_a_parquet_file_is_read_with_any_types_of_columns(tmp_path):
    frame = pd.DataFrame([TYPED, TYPED], columns=NAMES).astype({"Country": "category", "CustomerID": "float"})
    frame.loc[1, "CustomerID"] = None
    frame.to_parquet(tmp_path / "a.parquet")
    got, _, _ = read(tmp_path / "a.parquet")
    assert cells(got)[:4] == CELLS[:4]
    assert cells(got)[4].startswith("2010-12-01 08:26:00")
    assert [cells(got, row)[6] for row in (0, 1)] == ["17850", None]


def test_it_is_said_on_which_clock_a_parquet_file_with_a_time_zone_is_read(tmp_path):
    frame = pd.DataFrame([TYPED], columns=NAMES).astype({"InvoiceNo": str})
    frame["InvoiceDate"] = frame["InvoiceDate"].dt.tz_localize("America/New_York")
    frame.to_parquet(tmp_path / "a.parquet")
    got, _, note = read(tmp_path / "a.parquet")
    assert cells(got)[4].startswith("2010-12-01 08:26:00")
    assert "times are read on the clock of America/New_York" in note


def hostile_workbook(folder):
    """A small file with a cell in the last row and column: as a table it would need 400 GB."""
    path = workbook(folder, {"Sales": [NAMES, TYPED]})
    book = openpyxl.load_workbook(path)
    book.active["XFD1048576"] = 1
    book.save(path)
    return path.read_bytes()


def book_of(sheets):
    def make(folder):
        return workbook(folder, sheets, "made.xlsx").read_bytes()

    return make


def bomb(_):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"")
        archive.writestr("xl/worksheets/sheet1.xml", bytes(200 << 20))
    return packed.getvalue()


def no_utf8(folder):
    columns = {name: pa.array([cell]) for name, cell in zip(NAMES, CELLS, strict=True)}
    columns["Description"] = pa.array([b"\xff\xfe HOLDER"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table(columns), folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


def cut_off(folder):
    return workbook(folder, {"Sales": [NAMES, TYPED]}).read_bytes()[:-200]


def nothing_but(archive_member):
    def make(_):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(archive_member, "x")
        return packed.getvalue()

    return make


BAD = [
    ("not a workbook at all", "a.xlsx", b"hello, this is text", "holds CSV text"),
    ("a truncated workbook", "a.xlsx", cut_off, "is not a workbook, or it is cut off"),
    ("a zip bomb", "a.xlsx", bomb, "unpacks to 200 MB, more than the 100 MB that are allowed"),
    ("a gzip bomb", "a.csv.gz", lambda _: gzip.compress(bytes(200 << 20)), "unpacks to more than the 100 MB"),
    ("a cell far away", "a.xlsx", hostile_workbook, "a cell far away from the others"),
    ("an archive of another kind", "a.xlsx", nothing_but("readme.txt"), "an archive of another kind"),
    ("a binary workbook", "a.xlsx", nothing_but("xl/workbook.bin"), "a .xlsb workbook"),
    ("a workbook without its parts", "a.xlsx", nothing_but("xl/workbook.xml"), "not a readable workbook"),
    ("an old or locked workbook", "a.xlsx", b"\xd0\xcf\x11\xe0" + bytes(600), "protected by a password"),
    ("the wrong sheet", "a.xlsx", book_of({"Stock": [["Bin", "Shelf"], [1, 2]]}), "sheet 'Stock', has no header"),
    ("no sheet of several", "a.xlsx", book_of({"A": [["x"]], "B": [["y"]]}), "no sheet with the columns"),
    ("an empty sheet", "a.xlsx", book_of({"A": []}), "no sheet with the columns"),
    ("a sheet without a column", "a.xlsx", book_of({"A": [NAMES[:-1], TYPED[:-1]]}), "no column Country"),
    ("a missing column", "a.csv", HEADER.replace("Quantity", "Qty") + f"\n{LINE}", "no column Quantity"),
    ("a column twice", "a.csv", f"{HEADER},Price\n{LINE},1", "has the column UnitPrice twice"),
    ("no header", "a.csv", f"{LINE}\n{LINE}\n", "has no header"),
    ("a table as HTML", "a.xlsx", b"\n<table><tr><td>InvoiceNo</td></tr></table>", "holds a web page or XML"),
    ("an export as HTML", "a.xls", b"\xef\xbb\xbf<html xmlns:x='urn'><body></body></html>", "holds a web page or XML"),
    ("a page to log in", "a.csv", b"<!-- x -->\r\n<!DOCTYPE html>\n<html></html>", "holds a web page or XML"),
    ("a page in UTF-16", "a.csv", "\ufeff<HTML><BODY>".encode("utf-16-le"), "holds a web page or XML"),
    ("an empty file", "a.csv", b"", "is empty"),
    ("white space", "a.csv", b" \n\n \n", "is empty"),
    ("an empty archive", "a.csv.gz", gzip.compress(b""), "is empty"),
    ("a cut off archive", "a.csv.gz", lambda _: gzip.compress(os.urandom(9999))[:-99], "cut off"),
    ("no text", "a.csv", bytes(range(256)) * 20, "not text in UTF-8, UTF-16 or Windows-1252"),
    ("a cell of 100 MB", "a.csv", f"{HEADER}\n" + LINE.replace("HOLDER", "x" * 100_000_000), "line 2 is longer than"),
    ("a workbook renamed", "a.csv", book_of({"A": [NAMES, TYPED]}), "rename it so that it ends in .xlsx"),
    ("a web page", "a.xlsx", "<html><table><tr><td>InvoiceNo</td></tr></table></html>", "holds a web page or XML"),
    ("text renamed", "a.parquet", f"{HEADER}\n{LINE}", "rename it so that it ends in .csv"),
    ("an archive renamed", "a.csv", gzip.compress(HEADER.encode()), "rename it so that it ends in .csv.gz"),
    ("a damaged table", "a.parquet", b"PAR1" + bytes(90), "not a readable Parquet file"),
    ("text that is no UTF-8", "a.parquet", no_utf8, "not a readable Parquet file"),
    ("another kind", "a.pdf", b"%PDF-1.4", "is none of .xlsx, .csv, .csv.gz, .parquet"),
]


@pytest.mark.parametrize(("name", "content", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path, name, content, message):
    path = written(tmp_path, name, content(tmp_path) if callable(content) else content)
    with pytest.raises(InputError) as raised:
        read(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith(name)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_file_that_may_not_be_read_is_refused():
    with tempfile.TemporaryDirectory(prefix="ncf-test-") as folder, as_no_superuser(folder):
        path = written(Path(folder), "a.csv", f"{HEADER}\n{LINE}")
        path.chmod(0)
        with pytest.raises(InputError, match=r"a\.csv cannot be read: Permission denied"):
            read(path)


@contextmanager
def as_no_superuser(folder):
    """Becomes another user for the block, because root may read everything."""
    user = os.geteuid()
    if user == 0:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_is_not_a_file(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match=r"a\.csv cannot be read"):
        read(tmp_path / "a.csv")
