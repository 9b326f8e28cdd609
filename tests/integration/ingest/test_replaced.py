"""An invoice's new lines replace its earlier ones, and nobody has to find out by chance what is gone."""

import json
import logging

from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import quarantined_lines
from ncf_pipeline.ingest.data_docs import read_page
from ncf_pipeline.ingest.messages import replaced_lines
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def line(code="A1", invoice="536365", quantity=6):
    return f"{invoice},{code},HEART,{quantity},2010-12-01 08:26:00,2.55,17850,France"


def load(settings, tmp_path, *lines, header=HEADER):
    path = tmp_path / f"{len(list(tmp_path.glob('*.csv')))}.csv"
    path.write_text("\n".join([header, *lines]))
    return ingest.ingest(settings, [str(path)])


def stored(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select invoice_no, stock_code, quantity::integer from retail.invoice_line order by 1, 2, 3")
        return cursor.fetchall()


def do(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_part_that_is_lost_is_told_everywhere(settings, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    load(settings, tmp_path, *(line(code) for code in ("A1", "A2", "A3")), line(invoice="536366"))
    counts = load(settings, tmp_path, line("B1"), line("B2"))
    assert (counts.replaced, counts.replaced_invoices, counts.invoices_replaced) == (3, ("536365",), 1)
    assert (counts.lost, counts.lost_invoices) == (3, ("536365",))
    alert = ingest.lost_lines(counts)
    assert alert.startswith("3 of the replaced lines have none for their product in the new load, of invoices such as")
    for told in (read_page(settings, 2).replace("&#39;", "'"), caplog.text):
        assert "3 lines of earlier loads were replaced, of invoice 536365: an invoice's new lines replace" in told
        assert alert in told
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_HOME", str(settings.home))
    (tmp_path / "again.csv").write_text("\n".join([HEADER, line("A1")]))
    said = CliRunner().invoke(app, ["ingest", str(tmp_path / "again.csv")]).output
    assert "2 lines of earlier loads were replaced, of invoice 536365" in said
    assert "2 of the replaced lines have none for their product" in " ".join(said.split())
    (tmp_path / "b.csv").write_text("\n".join([HEADER, line("B1")]))
    said = json.loads(CliRunner().invoke(app, ["ingest", str(tmp_path / "b.csv"), "--json"]).output)
    assert (said["replaced"], said["invoices_replaced"], said["lost"], said["lost_invoices"]) == (1, 1, 1, ["536365"])


def test_a_corrected_file_that_is_sent_again_alarms_nobody(settings, tmp_path):
    load(settings, tmp_path, line("a1 "), line("A2"), line("A2"))
    counts = load(settings, tmp_path, line("A1", quantity=7), line("A2"), line("A2", quantity=3), line("A3"))
    assert (counts.replaced, counts.lost) == (3, 0)
    assert ingest.lost_lines(counts) is None
    counts = load(settings, tmp_path, line("A1", quantity=7), line("A2"), line("A3"))
    assert (counts.replaced, counts.lost) == (4, 1)


def test_the_first_ten_invoices_are_named_and_the_others_counted(settings, tmp_path):
    load(settings, tmp_path, *(line(invoice=str(536365 + each)) for each in range(25)))
    counts = load(settings, tmp_path, *(line("B", invoice=str(536365 + each)) for each in range(12)))
    assert (len(counts.replaced_invoices), counts.invoices_replaced, counts.lost) == (10, 12, 12)
    said = " ".join(replaced_lines(counts))
    assert "12 lines of earlier loads were replaced, of invoices 536365, " in said
    assert "536374 and 2 others: an invoice's new lines" in said


def test_a_stored_invoice_that_is_without_a_broken_line_is_named_until_it_is_corrected(settings, tmp_path):
    load(settings, tmp_path, line("A1"), line("A2"))
    before = load(settings, tmp_path, line("A1", invoice="536366", quantity=0))
    assert before.invoices_incomplete == 0
    batch_id = ingest.land(settings, [str(_file(tmp_path, line("A1"), line("A2", quantity=0)))])
    ingest.validate(settings, batch_id)
    ingest.quarantine(settings, batch_id)
    missing = (
        "Lines that wait in quarantine are missing from invoice 536365, which had been loaded before. Correct or "
        f"discard them: ncf-pipeline quarantine list --batch {batch_id}"
    )
    assert f"- {missing}" in ingest.quality_message(settings, batch_id)
    counts = ingest.merge(settings, batch_id)
    assert (counts.lost, counts.invoices_incomplete, counts.incomplete_invoices) == (0, 1, ("536365",))
    assert missing in read_page(settings, batch_id)
    waiting = quarantined_lines(settings)[-1]
    assert waiting.missing_from == 1
    ingest.release(settings, [waiting.quarantine_id], {"quantity": "2"})
    assert stored(settings) == [("536365", "A1", 6), ("536365", "A2", 2)]


def _file(tmp_path, *lines):
    path = tmp_path / f"{len(list(tmp_path.glob('*.csv')))}.csv"
    path.write_text("\n".join([HEADER, *lines]))
    return path


def waiting(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select quarantine_id from raw.quarantined_line where state = 'waiting' order by 1")
        return [number for (number,) in cursor.fetchall()]


def test_a_newer_load_that_is_broken_in_every_line_replaces_the_stored_lines_once_it_is_corrected(settings, tmp_path):
    load(settings, tmp_path, line("A1"), line("A2"))
    load(settings, tmp_path, line("A1", quantity="five"), line("A3", quantity="nine"))
    assert stored(settings) == [("536365", "A1", 6), ("536365", "A2", 6)]
    first, second = waiting(settings)
    ingest.release(settings, [first], {"quantity": "many"})  # broken again: it waits under a new number
    second, again = waiting(settings)
    assert stored(settings) == [("536365", "A1", 6), ("536365", "A2", 6)]
    ingest.release(settings, [again], {"quantity": "5"})
    assert stored(settings) == [("536365", "A1", 5)]
    ingest.release(settings, [second], {"quantity": "9"})
    assert stored(settings) == [("536365", "A1", 5), ("536365", "A3", 9)]


def test_a_correction_to_what_is_stored_already_is_kept_when_the_next_one_comes(settings, tmp_path):
    load(settings, tmp_path, line("A1"))
    load(settings, tmp_path, line("A1", quantity="six"), line("A2", quantity="two"))
    first, second = waiting(settings)
    ingest.release(settings, [first], {"quantity": "6"})
    assert stored(settings) == [("536365", "A1", 6)]
    ingest.release(settings, [second], {"quantity": "2"})
    assert stored(settings) == [("536365", "A1", 6), ("536365", "A2", 2)]


def test_lines_of_a_broken_load_that_are_corrected_together_replace_the_stored_ones(settings, tmp_path):
    load(settings, tmp_path, line("A1"), line("A2"))
    load(settings, tmp_path, line("B1", quantity="x"), line("B2", quantity="x"))
    ingest.release(settings, waiting(settings), {"quantity": "1"})
    assert stored(settings) == [("536365", "B1", 1), ("536365", "B2", 1)]


def test_a_broken_line_of_a_load_with_good_lines_joins_them(settings, tmp_path):
    load(settings, tmp_path, line("A1"), line("A2"))
    load(settings, tmp_path, line("A1"), line("A2", quantity="x"))
    ingest.release(settings, waiting(settings), {"quantity": "2"})
    assert stored(settings) == [("536365", "A1", 6), ("536365", "A2", 2)]


def test_quarantine_show_names_the_cell_what_is_read_what_is_missing_and_the_next_step(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_HOME", str(settings.home))
    load(settings, tmp_path, line("A1"), line("A2", quantity="six"))
    said = " ".join(CliRunner().invoke(app, ["quarantine", "show", "1"]).output.split())
    assert "Quantity holds 'six'. What is read: a whole number, such as" in said
    assert "Invoice 536365 is stored with 1 line, and without this one." in said
    assert (
        "Next: ncf-pipeline quarantine release 1 --set quantity=VALUE, or ncf-pipeline quarantine discard 1 --note WHY"
    ) in said


def test_quarantine_show_names_the_cells_of_a_mapped_file_as_the_file_does(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_HOME", str(settings.home))
    path = tmp_path / "orders.csv"
    path.write_text(
        "Name,Email,Financial Status,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,"
        "Billing Country\n"
        "#1001,a@example.com,paid,2011-01-04 10:00:00 +0000,two,CUP,2.50,A1,GB\n"
        "#1002,b@example.com,on hold,2011-01-04 10:00:00 +0000,1,CUP,2.50,A1,GB\n"
    )
    ingest.ingest(settings, [str(path)], mapping="shopify")
    said = [" ".join(CliRunner().invoke(app, ["quarantine", "show", number]).output.split()) for number in "12"]
    assert "Quantity (Lineitem quantity) holds 'two'. What is read: a whole number" in said[0]
    assert "Status (Financial Status) holds 'on hold'. What is read: a status that the mapping has under" in said[1]
    assert "If the mapping shopify lacks what this line holds, complete it and send the file again." in said[1]


def test_rules_and_columns_that_matched_nothing_are_told_after_every_ingest(settings, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    load(settings, tmp_path, line("A1"))
    assert batch_summary(settings).notes == ()
    do(
        settings,
        "insert into retail.excluded_stock_code values ('VOUCHER*', 'vouchers'), ('a*', 'all'); "
        "insert into retail.unlisted_product values ('A9', 'discontinued'), (' a1', 'excluded');"
        "insert into retail.product_country values ('A_', 'France'), ('A_', 'Spain')",
    )
    load(settings, tmp_path, line("A1") + ",x", header=f"{HEADER},Shelf")
    expected = (
        "1.csv: columns that are not read: Shelf",
        "No product of the shop matches VOUCHER* of retail.excluded_stock_code. Correct or delete that row.",
        "No product of the shop matches A_ of retail.product_country. Correct or delete that row.",
        "No product of the shop matches A9 of retail.unlisted_product. Correct or delete that row.",
    )
    assert batch_summary(settings).notes == expected
    for sentence in expected:
        assert sentence in caplog.text
        assert sentence in read_page(settings, 2)
