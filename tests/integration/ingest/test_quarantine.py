"""Lines in quarantine can be listed, corrected and checked again; none is lost on the way."""

import gc
import sys

import openpyxl
import pytest

from ncf_pipeline import alerts
from ncf_pipeline.errors import DatabaseError, InputError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import discard_lines, export_workbook, quarantined_lines
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def line(invoice="536365", code="85123A", quantity=6, price=2.55, customer=17850, date="2010-12-01 08:26:00"):
    return f"{invoice},{code},HOLDER,{quantity},{date},{price},{customer},France"


def load(settings, tmp_path, *lines, name="a.csv"):
    (tmp_path / name).write_text("\n".join([HEADER, *lines]))
    return ingest.ingest(settings, [str(tmp_path / name)])


def stored(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select invoice_no, stock_code, quantity from retail.invoice_line order by 1, 2, 3")
        return cursor.fetchall()


def states(settings):
    return [(waiting.quarantine_id, waiting.state) for waiting in quarantined_lines(settings, state=None)]


def test_a_waiting_line_has_its_file_its_cells_and_the_rules_that_it_broke(settings, tmp_path):
    load(settings, tmp_path, line(), line(quantity="six"), line(quantity=0, price=-1))
    first, second = quarantined_lines(settings)
    assert (first.file, first.row_number, first.invoice_no) == ("a.csv", 3, "536365")
    assert first.rule_ids == ("cells_are_readable",)
    assert first.original["quantity"] == "six"
    assert second.rule_ids == ("quantity_is_not_zero", "unit_price_is_not_negative")
    assert second.reasons[0] == "A quantity is not 0."
    assert quarantined_lines(settings, rule_id="quantity_is_not_zero") == [second]


def test_a_line_that_is_released_with_a_change_joins_the_others_of_its_invoice(settings, tmp_path):
    load(settings, tmp_path, line(), line(code="71053", quantity="six"))
    assert stored(settings) == [("536365", "85123A", 6)]
    counts = ingest.release(settings, [1], {"quantity": "6"})
    assert (counts.read, counts.merged, counts.quarantined, counts.replaced) == (1, 1, 0, 1)
    assert stored(settings) == [("536365", "71053", 6), ("536365", "85123A", 6)]
    assert states(settings) == [(1, "released")]


def test_a_file_that_is_sent_again_undoes_no_correction(settings, tmp_path):
    lines = [line(), line(code="71053", quantity="six")]
    load(settings, tmp_path, *lines)
    ingest.release(settings, [1], {"quantity": "6"})
    for name in ("a.csv", "b.csv"):
        again = load(settings, tmp_path, *lines, "" if name == "a.csv" else "\n", name=name)
        assert (again.merged, again.unchanged, again.quarantined) == (0, 2, 0)
    assert stored(settings) == [("536365", "71053", 6), ("536365", "85123A", 6)]
    assert "broken lines that were read with an earlier correction: 1" in str(again)


def test_a_correction_that_took_two_tries_is_recognised_too(settings, tmp_path):
    lines = [line(), line(code="71053", quantity="six")]
    load(settings, tmp_path, *lines)
    ingest.release(settings, [1], {"quantity": "half a dozen"})
    ingest.release(settings, [2], {"quantity": "6"})
    again = load(settings, tmp_path, *lines, "", name="b.csv")
    assert (again.unchanged, again.quarantined) == (2, 0)


def test_a_line_that_is_still_broken_waits_again_under_a_new_id(settings, tmp_path):
    load(settings, tmp_path, line(quantity="six"), line(quantity="seven"))
    counts = ingest.release(settings, [1], {"quantity": "half a dozen"})
    assert (counts.merged, counts.quarantined) == (0, 1)
    assert states(settings) == [(1, "discarded"), (2, "waiting"), (3, "waiting")]
    assert stored(settings) == []


def test_a_line_is_released_once(settings, tmp_path):
    load(settings, tmp_path, line(quantity="six"))
    ingest.release(settings, [1], {"quantity": "6"})
    with pytest.raises(InputError, match="1 is not waiting in quarantine"):
        ingest.release(settings, [1], {"quantity": "6"})
    with pytest.raises(InputError, match="There is no column qty"):
        ingest.release(settings, [1], {"qty": "6"})


def test_a_discarded_line_does_not_wait_again_if_it_is_read_again(settings, tmp_path):
    lines = [line(), line(code="B", price=-11062.06)]
    load(settings, tmp_path, *lines)
    assert discard_lines(settings, [1], note="bad debt") == [1]
    again = load(settings, tmp_path, *lines, line(invoice="536366"), name="b.csv")
    assert again.quarantined == 1
    assert states(settings) == [(1, "discarded"), (2, "discarded")]
    with pytest.raises(InputError, match="Nothing was discarded"):
        discard_lines(settings, [1, 2], note="again")


def test_a_newer_load_of_an_invoice_replaces_its_waiting_lines_too(settings, tmp_path):
    load(settings, tmp_path, line(), line(code="71053", quantity="six"), line(invoice="536366", quantity=0))
    load(settings, tmp_path, line(), line(code="71053", quantity=6), name="b.csv")
    assert states(settings) == [(1, "discarded"), (2, "waiting")]
    assert len(stored(settings)) == 2


def test_a_workbook_that_cannot_be_written_is_one_sentence_and_leaves_nothing(settings, tmp_path, monkeypatch):
    load(settings, tmp_path, line(quantity="six"))
    later = []
    monkeypatch.setattr(sys, "unraisablehook", later.append)  # what Python prints when an object is thrown away
    with pytest.raises(InputError, match=r"there is no folder .*none\. Make it first\."):
        export_workbook(settings, tmp_path / "none" / "waiting.xlsx")
    (tmp_path / "waiting.xlsx").mkdir()
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        export_workbook(settings, tmp_path / "waiting.xlsx")
    gc.collect()
    assert later == []
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_lines_are_corrected_in_a_workbook_and_dropped_back_into_the_inbox(settings, tmp_path):
    load(settings, tmp_path, line(), line(code="71053", quantity="six"), line(code="=1+1", quantity=0), line(price="x"))
    assert export_workbook(settings, tmp_path / "waiting.xlsx") == 3
    book = openpyxl.load_workbook(tmp_path / "waiting.xlsx")
    names = [cell.value for cell in book.active[1]]
    assert names[:3] == ["Quarantine ID", "InvoiceNo", "StockCode"]
    assert book.active.cell(2, names.index("From") + 1).value == "a.csv, row 3"
    assert book.active.cell(3, names.index("StockCode") + 1).data_type == "s"  # Excel must not run it as a formula
    book.active.cell(2, names.index("Quantity") + 1).value = 6
    book.active.cell(3, names.index("Quantity") + 1).value = "2"
    book.active.delete_rows(4)  # not corrected yet
    settings.inbox_path.mkdir()
    book.save(settings.inbox_path / "corrected.xlsx")

    counts = ingest.ingest(settings)
    assert (counts.read, counts.merged, counts.quarantined) == (2, 2, 0)
    assert sorted(stored(settings)) == sorted([("536365", "71053", 6), ("536365", "85123A", 6), ("536365", "=1+1", 2)])
    assert states(settings) == [(1, "released"), (2, "released"), (3, "waiting")]

    # Dropped a second time by mistake, with other bytes.
    book.active.cell(1, 20).value = "a note"
    book.save(settings.inbox_path / "corrected again.xlsx")
    counts = ingest.ingest(settings)
    assert (counts.read, counts.merged, counts.unchanged, counts.quarantined) == (2, 0, 2, 0)
    assert len(stored(settings)) == 3


def test_a_correction_of_an_unknown_line_waits_itself(settings, tmp_path):
    content = f"Quarantine ID,{HEADER}\n77,{line()}\n"
    (tmp_path / "a.csv").write_text(content)
    assert ingest.ingest(settings, [str(tmp_path / "a.csv")]).quarantined == 1
    assert quarantined_lines(settings)[0].rule_ids == ("correction_is_known",)


def test_a_line_that_is_in_two_files_of_a_batch_waits_once(settings, tmp_path):
    folder = tmp_path / "drop"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("\n".join([HEADER, line(), line(quantity="six"), line(invoice=name)]))
    counts = ingest.ingest(settings, [str(folder)])
    assert (counts.read, counts.merged, counts.unchanged, counts.quarantined) == (6, 3, 1, 2)
    assert states(settings) == [(1, "waiting"), (2, "discarded")]


def test_the_database_itself_refuses_a_batch_that_lost_a_line(settings, tmp_path):
    batch_id = load(settings, tmp_path, line()).batch_id
    with pytest.raises(DatabaseError, match="nothing_is_lost"), transaction(settings) as connection:
        connection.cursor().execute("update raw.batch set lines_read = lines_read + 1 where batch_id = %s", (batch_id,))


def test_lines_that_a_command_puts_into_quarantine_are_an_incident_until_none_waits(settings, tmp_path):
    def open_ones():
        return [(each.kind, each.key, each.told_at) for each in alerts.incidents(settings)]

    load(settings, tmp_path, line(), line(code="71053", quantity=0))
    assert open_ones() == [("lines_quarantined", "batch 1", None)], "left to what has channels"
    load(settings, tmp_path, line(), line(code="71053", quantity=0))
    assert len(open_ones()) == 1, "the same lines wait once"
    (waiting,) = quarantined_lines(settings)
    discard_lines(settings, [waiting.quarantine_id], note="a test order")
    assert open_ones() == []
    load(settings, tmp_path, line(), line(code="71053", quantity=0), name="again.csv")
    assert open_ones() == [], "a line that was discarded does not wait again"
