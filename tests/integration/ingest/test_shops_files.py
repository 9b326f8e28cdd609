"""Files of other shops, through all stages: what is stored, what waits and why, and what a person is told."""

import json

from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import quarantined_lines
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
USUAL = {
    "invoice": "536365", "code": "85123A", "text": "HEART", "quantity": "6", "date": "2010-12-01 08:26:00",
    "price": "2.55", "customer": "17850", "country": "France",
}  # fmt: skip


def line(**cells):
    return ",".join((USUAL | cells).values())


def write(folder, name, *lines, header=HEADER):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([header, *lines]), encoding="utf-8")
    return str(folder / name)


def stored(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select invoice_no, stock_code, quantity from retail.invoice_line order by 1, 2, 3")
        return cursor.fetchall()


def test_a_day_after_the_twelfth_is_loaded(settings, tmp_path):
    counts = ingest.ingest(settings, [write(tmp_path, "d13.csv", *[line(date="13/01/2011 08:20")] * 4)])
    assert (counts.merged, counts.quarantined) == (4, 0)


def test_a_corrected_file_beside_the_first_counts_alone(settings, tmp_path):
    first = [line(), line(code="22633", quantity="2"), line(invoice="536366")]
    write(tmp_path / "drop", "sales-1201.csv", *first)
    write(tmp_path / "drop", "sales-1201-corrected.csv", line(quantity="60"), line(code="22633", quantity="2"))
    counts = ingest.ingest(settings, [str(tmp_path / "drop")])
    assert stored(settings) == [("536365", "22633", 2), ("536365", "85123A", 60), ("536366", "85123A", 6)]
    assert (counts.read, counts.merged, counts.unchanged) == (5, 3, 2)


def test_the_file_that_is_named_last_counts(settings, tmp_path):
    old, new = write(tmp_path, "b.csv", line()), write(tmp_path, "a.csv", line(quantity="60"))
    ingest.ingest(settings, [old, new])
    assert stored(settings) == [("536365", "85123A", 60)]


def test_parts_of_an_invoice_in_one_call_are_put_together(settings, tmp_path):
    one, two = write(tmp_path, "a.csv", line(code="A1")), write(tmp_path, "b.csv", line(code="A2"))
    ingest.ingest(settings, [one, two])
    assert [code for _, code, _ in stored(settings)] == ["A1", "A2"]


def test_lines_that_are_replaced_are_told_with_their_invoices(settings, tmp_path, monkeypatch):
    ingest.ingest(settings, [write(tmp_path, "a.csv", line(code="A1"), line(code="A2"), line(invoice="S00002"))])
    counts = ingest.ingest(settings, [write(tmp_path, "b.csv", line(code="A3"))])
    assert (counts.replaced, counts.replaced_invoices) == (2, ("536365",))
    assert counts.as_dict()["replaced_invoices"] == ["536365"]


def test_a_line_in_quarantine_names_its_cell_what_it_holds_and_what_would_be_read(settings, tmp_path):
    stray = line(text='"A').replace(",France", ",")
    ingest.ingest(
        settings, [write(tmp_path, "a.csv", line(quantity="0.5", date="13/01/11"), stray, line(quantity="0"))]
    )
    cells, broken, zero = quarantined_lines(settings)
    assert cells.unreadable == ("quantity", "invoice_date")
    assert "Quantity holds '0.5'. What is read: a whole number, such as 6, -6 or 1000;" in cells.reasons[0]
    assert "InvoiceDate holds '13/01/11'. What is read: a date without a time zone, such as" in cells.reasons[0]
    assert broken.reasons[0].startswith("The line cannot be divided into cells. What is read: a line with as many")
    assert zero.reasons == ("A quantity is not 0.",)
    json.dumps([each.as_dict() for each in (cells, broken, zero)])


def test_a_line_is_released_with_the_values_that_its_own_file_gave_the_other_cells(settings, tmp_path):
    lines = [line(quantity="six", date="01/02/2011", price='"2,55"'), line(date="13/02/2011", price='"1.234,50"')]
    ingest.ingest(settings, [write(tmp_path, "a.csv", *lines)])
    counts = ingest.release(settings, [1], {"quantity": "6"})
    assert counts.quarantined == 0
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select invoice_date::text, unit_price::text from retail.invoice_line order by 1")
        assert cursor.fetchall() == [("2011-02-01 00:00:00", "2.55"), ("2011-02-13 00:00:00", "1234.5")]


def test_columns_and_sheets_that_are_not_read_are_told(settings, tmp_path):
    ingest.ingest(settings, [write(tmp_path, "a.csv", f"{line()},1,gift", header=f"{HEADER},Shop,Note")])
    summary = batch_summary(settings)
    assert summary.notes == ("a.csv: columns that are not read: Shop, Note",)
    assert summary.as_dict()["notes"] == list(summary.notes)


def test_a_cancellation_is_c_and_digits(settings, tmp_path):
    orders = [line(invoice="CA-2016-152156"), line(invoice="CS0003"), line(invoice="c0004", quantity="-3")]
    counts = ingest.ingest(settings, [write(tmp_path, "a.csv", *orders, line(invoice="C0005"))])
    assert (counts.merged, counts.quarantined) == (3, 1)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select invoice_no, is_purchase from retail.purchase_or_return order by 1")
        assert cursor.fetchall() == [("CA-2016-152156", True), ("CS0003", True), ("c0004", False)]


def test_the_command_tells_what_was_replaced_and_what_was_not_read(settings, tmp_path, monkeypatch):
    for name, value in {"NCF_DATABASE_URL": settings.database_url, "NCF_ARTIFACTS": settings.artifacts}.items():
        monkeypatch.setenv(name, str(getattr(value, "get_secret_value", lambda value=value: value)()))
    first = write(tmp_path, "a.csv", line(), line(code="A2"))
    second = write(tmp_path, "b.csv", f"{line(code='A3')},gift", header=f"{HEADER},Note")
    assert CliRunner().invoke(app, ["ingest", first]).exit_code == 0
    shown = " ".join(CliRunner().invoke(app, ["ingest", second]).stdout.split())
    assert "b.csv: columns that are not read: Note" in shown
    assert "2 lines of earlier loads were replaced, of invoice 536365" in shown
