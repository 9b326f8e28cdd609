"""`ingest --dry-run` says what an ingest does afterwards, and leaves nothing behind."""

import json
import multiprocessing
import os
import signal
import threading

import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError, QualityError
from ncf_pipeline.ingest import rehearsal
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.rehearsal import rehearse
from ncf_pipeline.storage.database import rehearsed, transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def line(code="A1", invoice="536365", quantity=6, date="13/01/2011 08:26"):
    return f"{invoice},{code},HEART,{quantity},{date},2.55,17850,France"


def write(folder, name, *lines, header=HEADER):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([header, *lines]))
    return str(folder / name)


def content(settings):
    """Every row of every table."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema in ('raw', 'retail', 'ml', 'ops') order by 1"
        )
        rows = {}
        for (table,) in cursor.fetchall():
            cursor.execute(f"select t::text from {table} as t order by 1")
            rows[table] = cursor.fetchall()
        return rows


def outcome(counts):
    return {name: value for name, value in counts.as_dict().items() if name != "batch_id"}


def test_a_dry_run_says_what_the_ingest_does_and_changes_nothing(settings, tmp_path):
    ingest.ingest(settings, [write(tmp_path, "a.csv", line("A1"), line("A2"), line("A1", "536366", quantity=0))])
    write(settings.inbox_path, "b.csv", line("A1", quantity=7) + ",x", line("A3", "536367", quantity=0) + ",",
          line("A4", quantity="six") + ",", header=f"{HEADER},Shelf")  # fmt: skip
    write(settings.inbox_path, "letters.csv", "Dear,Sir", header="Hello")
    before, files = content(settings), sorted(settings.home.parent.rglob("*"))
    said = rehearse(settings, [str(settings.inbox_path)])
    assert content(settings) == before
    assert sorted(settings.home.parent.rglob("*")) == files
    assert rehearsed() is None

    counts = said.summary.counts
    assert (counts.read, counts.merged, counts.quarantined, counts.replaced) == (3, 1, 2, 2)
    assert counts.replaced_invoices == counts.incomplete_invoices == ("536365",)
    assert "letters.csv" in counts.rejected_files[0].reason
    assert said.summary.notes == ("b.csv: columns that are not read: Shelf",)
    assert said.read_as[0].startswith("b.csv: day first: b.csv row 2 has 13/01/2011 08:26; decimal mark . : b.csv row")
    first = said.first_lines[0]
    assert (first.row_number, first.invoice_date, first.unit_price) == (2, "2011-01-13 08:26:00", "2.55")
    assert said.first_lines[2].unreadable == ("quantity",)
    assert [waiting.where for waiting in said.waiting] == ["b.csv, row 3", "b.csv, row 4"]
    assert said.waiting[1].reasons[0].startswith("Quantity holds 'six'. What is read: a whole number, such as 6, -6 or")
    assert outcome(ingest.ingest(settings)) == outcome(counts)


def test_the_same_bytes_again_would_change_nothing(settings, tmp_path):
    path = write(tmp_path, "a.csv", line())
    ingest.ingest(settings, [path])
    counts = rehearse(settings, [path]).summary.counts
    assert (counts.unchanged, counts.reason) == (1, "the same bytes as batch 1 (a.csv): nothing to change")


def test_files_and_batches_that_would_be_refused_are_and_nothing_is_kept(settings, tmp_path):
    before = content(settings)
    with pytest.raises(InputError, match="could have the day or the month first"):
        rehearse(settings, [write(settings.inbox_path, "open.csv", line(date="01/02/2011 10:00"))])
    with pytest.raises(QualityError, match="Most lines can be read"):
        rehearse(settings, [write(settings.inbox_path, "b.csv", *[line(quantity="x")] * 1500)])
    assert content(settings) == before
    assert {path.name for path in settings.inbox_path.iterdir()} == {"open.csv", "b.csv"}
    assert rehearsed() is None


@pytest.mark.parametrize("at", ["a.csv", "checking the rules", "putting broken lines into quarantine"])
def test_an_ingest_runs_beside_a_dry_run(settings, tmp_path, at):
    ingest.ingest(settings, [write(tmp_path, "before.csv", line("A1"), line("A9", "7", quantity=0))])
    other = write(tmp_path, "other.csv", line("A1", "8", quantity=0), line("A2", "9"), line("A3", "7"))
    done = []

    def load(step, *_):
        if step == at:
            thread = threading.Thread(target=lambda: done.append(ingest.ingest(settings, [other])))
            thread.start()
            thread.join(60)

    said = rehearse(settings, [write(tmp_path, "a.csv", line("A2"), line("A3", quantity=0))], load)
    assert [(counts.merged, counts.quarantined) for counts in done] == [(2, 1)]
    assert (said.summary.counts.merged, said.summary.counts.quarantined) == (1, 1)
    assert ingest.ingest(settings, [str(tmp_path / "a.csv")]).merged == 1


def test_a_dry_run_leaves_an_unfinished_batch_of_the_same_file_alone(settings, tmp_path):
    path = write(tmp_path, "a.csv", line())
    batch_id = ingest.land(settings, [path])
    assert rehearse(settings, [path]).summary.counts.merged == 1
    assert ingest.finish(settings, batch_id).merged == 1


def _rehearse_and_die(settings, path):
    rehearsal.quarantined_lines = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # after the merge
    rehearse(settings, [path])


def test_a_dry_run_that_dies_leaves_nothing(settings, tmp_path):
    before = content(settings)
    path = write(tmp_path, "a.csv", line())
    process = multiprocessing.get_context("spawn").Process(target=_rehearse_and_die, args=(settings, path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert content(settings) == before
    assert ingest.ingest(settings, [path]).merged == 1


def test_the_command_prints_it_and_publishes_nothing(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_HOME", str(settings.home))
    path = write(tmp_path, "a.csv", line(), line("A2", quantity=0))
    before = content(settings)
    result = CliRunner().invoke(app, ["ingest", "--dry-run", path])
    assert result.exit_code == 0
    said = " ".join(result.output.split())
    assert "Dry run of a.csv: nothing was loaded" in said
    assert "read as: a.csv: day first: a.csv row 2 has 13/01/2011 08:26" in said
    assert "Would wait: a.csv, row 3: A quantity is not 0." in said
    assert "2011-01-13" in said
    plain = json.loads(CliRunner().invoke(app, ["ingest", "--dry-run", "--json", path]).output.splitlines()[-1])
    assert (plain["dry_run"], plain["batch_id"], plain["merged"], plain["quarantined"]) == (True, None, 1, 1)
    assert plain["waiting"][0]["rule_ids"] == ["quantity_is_not_zero"]
    assert plain["first_lines"][0]["stock_code"] == "A1"
    write(tmp_path, "letters.csv", "Dear,Sir", header="x")
    refused = CliRunner().invoke(app, ["ingest", "--dry-run", path, str(tmp_path / "letters.csv")])
    assert refused.exit_code == 1
    assert "Refused: letters.csv" in refused.output
    assert content(settings) == before
