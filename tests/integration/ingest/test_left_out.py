"""Lines that do not count are landed and counted, and no more; an invoice that was taken back as a whole is removed."""

import polars as pl
import pytest

from ncf_pipeline.errors import QualityError
from ncf_pipeline.ingest import landing
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.corrections import quarantined_lines
from ncf_pipeline.ingest.readers.table import LEFT_OUT, TAKES_BACK
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


@pytest.fixture(autouse=True)
def statuses(monkeypatch):
    """Reads the country as an order's status: pending does not count yet, refunded takes the order back."""
    typed = landing.as_typed
    status = pl.col("country")

    def with_status(*args):
        return typed(*args).with_columns(
            pl.when(status.is_in(["pending", "refunded"])).then("status is " + status).alias(LEFT_OUT),
            pl.when(status == "refunded").then(pl.lit(True)).alias(TAKES_BACK),
        )

    monkeypatch.setattr(landing, "as_typed", with_status)


def line(invoice="1", code="A", status="paid", quantity=1):
    return f"{invoice},{code},CUP,{quantity},2011-01-04 10:00:00,2.5,17850,{status}"


def load(settings, tmp_path, *files):
    folder = tmp_path / f"load {len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    for number, lines in enumerate(files):
        (folder / f"{number}.csv").write_text("\n".join([HEADER, *lines]))
    return ingest.ingest(settings, [str(folder)])


def stored(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select invoice_no, invoice.lines, stock_code from retail.invoice_line "
            "full join retail.invoice using (invoice_no) order by 1, 3"
        )
        return cursor.fetchall()


def test_lines_that_do_not_count_are_counted_with_their_reasons(settings, tmp_path):
    counts = load(settings, tmp_path, [line(), line("2", status="pending"), line("3", status="refunded", quantity="x")])
    assert (counts.read, counts.merged, counts.quarantined, counts.left_out) == (3, 1, 0, 2)
    assert counts.left_out_reasons == {"status is pending": 1, "status is refunded": 1}
    assert batch_summary(settings).as_dict()["left_out"] == 2
    assert str(counts).endswith("3 lines read = 1 merged + 0 unchanged + 0 quarantined + 2 left out")
    assert stored(settings) == [("1", 1, "A")]


def test_the_rules_do_not_see_lines_that_do_not_count(settings, tmp_path):
    broken = [line(str(n), status="pending", quantity="x") for n in range(1500)]
    counts = load(settings, tmp_path, [line("5000"), *broken])
    assert (counts.merged, counts.left_out) == (1, 1500)
    assert batch_summary(settings).reasons == ()
    with pytest.raises(QualityError):
        load(settings, tmp_path, [line(str(n), quantity="x") for n in range(1500)])


def test_a_batch_of_which_nothing_counts_is_merged_as_nothing(settings, tmp_path):
    counts = load(settings, tmp_path, [line(status="pending")])
    assert (counts.status, counts.read, counts.merged, counts.left_out) == ("merged", 1, 0, 1)
    again = load(settings, tmp_path, [line(status="pending")])
    assert (again.reason, again.left_out) == ("the same bytes as batch 1 (0.csv): nothing to change", 1)
    assert again.left_out_reasons == counts.left_out_reasons


def test_an_invoice_that_was_taken_back_as_a_whole_is_removed(settings, tmp_path):
    paid = [line(), line(code="B"), line("2")]
    load(settings, tmp_path, paid)
    counts = load(settings, tmp_path, [line(status="refunded"), line(code="B", status="refunded")])
    assert (counts.merged, counts.left_out, counts.replaced) == (0, 2, 2)
    assert counts.replaced_invoices == ("1",)
    assert stored(settings) == [("2", 1, "A")]
    # The same bytes as before count again: they are not taken for known.
    assert load(settings, tmp_path, paid).merged == 2
    assert len(stored(settings)) == 3


def test_a_pending_invoice_leaves_the_stored_one_alone(settings, tmp_path):
    load(settings, tmp_path, [line(), line(code="B")])
    counts = load(settings, tmp_path, [line(status="pending")])
    assert (counts.left_out, counts.replaced) == (1, 0)
    assert len(stored(settings)) == 2


def test_single_lines_that_were_taken_back_are_not_in_the_new_invoice(settings, tmp_path):
    load(settings, tmp_path, [line(), line(code="B"), line(code="C")])
    counts = load(settings, tmp_path, [line(), line(code="B", status="refunded"), line(code="C", status="pending")])
    assert (counts.merged, counts.left_out, counts.replaced) == (1, 2, 3)
    assert stored(settings) == [("1", 1, "A")]


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ([[line()], [line(status="refunded")]], []),
        ([[line(status="refunded")], [line()]], [("1", 1, "A")]),
        ([[line(), line(code="B")], [line(code="C"), line(code="B")], [line(status="refunded")]], []),
        ([[line()], [line(status="pending")]], [("1", 1, "A")]),
        ([[line(status="refunded")], [line(status="pending")]], []),
    ],
)
def test_in_one_batch_the_last_file_says_whether_an_invoice_was_taken_back(settings, tmp_path, files, left):
    load(settings, tmp_path, [line(), line("2")])
    counts = load(settings, tmp_path, *files)
    assert counts.read == counts.merged + counts.unchanged + counts.left_out
    assert stored(settings) == [*left, ("2", 1, "A")]


def test_an_invoice_with_a_broken_line_is_not_taken_back(settings, tmp_path):
    load(settings, tmp_path, [line(), line(code="B")])
    load(settings, tmp_path, [line(status="refunded"), line(code="B", quantity=0)])
    assert len(stored(settings)) == 2


def test_a_waiting_line_of_an_invoice_that_was_taken_back_is_discarded(settings, tmp_path):
    load(settings, tmp_path, [line(), line(code="B", quantity=0)])
    load(settings, tmp_path, [line(status="pending")])
    assert [each.state for each in quarantined_lines(settings, state=None)] == ["waiting"]
    load(settings, tmp_path, [line(status="refunded")])
    assert [each.state for each in quarantined_lines(settings, state=None)] == ["discarded"]
    assert stored(settings) == []
