"""No line becomes a guest's because only the first line of its invoice names the customer."""

import csv

import openpyxl
import pytest

from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import export_workbook, quarantined_lines
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
RULE = "customer_is_on_every_line"


def line(code="A1", customer="", invoice="536365", quantity=6):
    return f"{invoice},{code},HEART,{quantity},2010-12-01 08:26:00,2.55,{customer},France"


def load(settings, tmp_path, *lines):
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
    path.write_text("\n".join([HEADER, *lines]))
    return ingest.ingest(settings, [str(path)])


def stored(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select invoice_no, stock_code, customer_id::text from retail.invoice_line order by 1, 2")
        return cursor.fetchall()


def waiting(settings):
    return [(each.original["stock_code"], each.rule_ids) for each in quarantined_lines(settings)]


def test_lines_below_the_one_that_names_the_customer_wait(settings, tmp_path):
    counts = load(settings, tmp_path, line("A1", 17850), line("A2"), line("A3"), line("B1", invoice="536366"))
    assert (counts.merged, counts.quarantined) == (2, 2)
    assert waiting(settings) == [("A2", (RULE,)), ("A3", (RULE,))]
    assert stored(settings) == [("536365", "A1", "17850"), ("536366", "B1", None)]
    assert quarantined_lines(settings)[0].reasons == (
        "If a line of an invoice names the customer, all its lines do. If only the first line of an invoice names the "
        "customer, a mapping can fill it down.",
    )


def test_merged_cells_of_a_workbook_wait_alike(settings, tmp_path):
    book = openpyxl.Workbook()
    for row in csv.reader([HEADER, line("A1", 17850), line("A2"), line("A3")]):
        book.active.append(row)
    book.active.merge_cells("G2:G4")
    book.save(tmp_path / "merged.xlsx")
    ingest.ingest(settings, [str(tmp_path / "merged.xlsx")])
    assert waiting(settings) == [("A2", (RULE,)), ("A3", (RULE,))]


@pytest.mark.parametrize("first", [{"customer": 17850, "quantity": 0}, {"customer": "#REF!"}])
def test_a_broken_line_that_names_the_customer_counts_too(settings, tmp_path, first):
    load(settings, tmp_path, line("A1", **first), line("A2"))
    assert stored(settings) == []
    assert [code for code, _ in waiting(settings)] == ["A1", "A2"]


def test_an_unreadable_line_without_a_customer_breaks_one_rule(settings, tmp_path):
    load(settings, tmp_path, line("A1", 17850), line("A2", quantity="x"))
    assert waiting(settings) == [("A2", ("cells_are_readable",))]


def test_a_correction_without_the_customer_waits_again_and_with_it_joins(settings, tmp_path):
    load(settings, tmp_path, line("A1", 17850), line("A2"), line("A3", 17850, quantity=0))
    again = ingest.release(settings, [1], {"quantity": "7"})
    assert (again.merged, again.quarantined) == (0, 1)
    assert ingest.release(settings, [2], {"quantity": "1", "customer_id": ""}).quarantined == 1
    ids = [each.quarantine_id for each in quarantined_lines(settings)]
    assert ingest.release(settings, ids, {"customer_id": "17850", "quantity": "2"}).merged == 2
    assert stored(settings) == [("536365", code, "17850") for code in ("A1", "A2", "A3")]
    # The file as it was is sent again: nothing waits, and the corrections hold.
    load(settings, tmp_path, line("A3", 17850, quantity=0), line("A2"), line("A1", 17850))
    assert stored(settings) == [("536365", code, "17850") for code in ("A1", "A2", "A3")]


def test_a_workbook_of_corrections_names_the_customer(settings, tmp_path):
    load(settings, tmp_path, line("A1", 17850), line("A2"), line("A3"))
    export_workbook(settings, tmp_path / "waiting.xlsx")
    book = openpyxl.load_workbook(tmp_path / "waiting.xlsx")
    column = [cell.value for cell in book.active[1]].index("CustomerID") + 1
    for row in (2, 3):
        book.active.cell(row, column).value = "17850"
    book.save(tmp_path / "corrected.xlsx")
    assert ingest.ingest(settings, [str(tmp_path / "corrected.xlsx")]).merged == 2
    assert [customer for _, _, customer in stored(settings)] == ["17850"] * 3


def test_an_invoice_in_two_files_has_its_customer_in_both(settings, tmp_path):
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "a.csv").write_text("\n".join([HEADER, line("A1", 17850)]))
    (tmp_path / "drop" / "b.csv").write_text("\n".join([HEADER, line("A2")]))
    ingest.ingest(settings, [str(tmp_path / "drop")])
    assert waiting(settings) == [("A2", (RULE,))]


def test_a_corrected_guest_of_a_guests_invoice_is_a_guest(settings, tmp_path):
    load(settings, tmp_path, line("A1"), line("A2", quantity=0))
    assert ingest.release(settings, [1], {"quantity": "1"}).merged == 1
    assert stored(settings) == [("536365", "A1", None), ("536365", "A2", None)]
