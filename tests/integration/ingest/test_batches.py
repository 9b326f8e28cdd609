"""A batch can be killed at any point, run twice, or run by two processes: no line is lost or counted twice."""

import json
import multiprocessing
import os
import shutil
import signal
import threading

import pytest

from ncf_pipeline.errors import DatabaseError, InputError, QualityError
from ncf_pipeline.ingest import landing, merging
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def line(invoice="536365", code="85123A", quantity=6, price=2.55, date="2010-12-01 08:26:00", text="HOLDER"):
    return f"{invoice},{code},{text},{quantity},{date},{price},17850,France"


def write(folder, name, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([HEADER, *lines]))
    return folder / name


def rows(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def stored(settings):
    return rows(settings, "select invoice_no, stock_code, quantity from retail.invoice_line order by 1, line_number")


def described(settings):
    return dict(rows(settings, "select stock_code, description from retail.product"))


def test_a_stage_that_runs_again_returns_the_same_and_does_nothing(settings, tmp_path):
    files = [str(write(tmp_path, "a.csv", line(), line(quantity=0)))]
    batch_id = ingest.land(settings, files)
    assert ingest.land(settings, files) == batch_id
    assert ingest.validate(settings, batch_id) == ingest.validate(settings, batch_id)
    once = ingest.quarantine(settings, batch_id)
    assert once == ingest.quarantine(settings, batch_id)
    assert once.as_dict() == {"batch_id": batch_id, "lines": 1, "rules": {"quantity_is_not_zero": 1}}
    merged = ingest.merge(settings, batch_id)
    assert merged == ingest.merge(settings, batch_id)
    assert ingest.validate(settings, batch_id).worst == "critical"
    assert ingest.quarantine(settings, batch_id) == once
    assert rows(settings, "select count(*) from raw.landed_line") == [(0,)]
    json.dumps([once.as_dict(), merged.as_dict(), ingest.validate(settings, batch_id).as_dict()])


@pytest.mark.parametrize("killed_after", ["land", "validate", "quarantine", "merge"])
def test_a_run_that_was_killed_continues_where_it_stopped(settings, killed_after):
    write(settings.inbox_path, "a.csv", line(), line(quantity=0))
    batch_id = ingest.land(settings, ingest.discover(settings))
    for stage in ("validate", "quarantine", "merge")[: ("land", "validate", "quarantine", "merge").index(killed_after)]:
        getattr(ingest, stage)(settings, batch_id)
    if killed_after == "merge":  # after its transaction, before the move
        processed = settings.inbox_path.parent / "processed"
        shutil.move(processed / "a.csv", settings.inbox_path / "a.csv")
    counts = ingest.ingest(settings)
    assert (counts.read, counts.merged + counts.unchanged, counts.quarantined) == (2, 1, 1)
    assert len(stored(settings)) == 1
    assert rows(settings, "select count(*) from raw.quarantined_line") == [(1,)]
    assert not list(settings.inbox_path.iterdir())


def test_a_merge_that_fails_leaves_nothing_behind(settings, tmp_path, monkeypatch):
    batch_id = ingest.land(settings, [str(write(tmp_path, "a.csv", line()))])
    ingest.validate(settings, batch_id)
    ingest.quarantine(settings, batch_id)

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(merging, "drop_landed_lines", full)
        with pytest.raises(OSError, match="disk full"):
            ingest.merge(settings, batch_id)
    assert stored(settings) == []
    assert ingest.merge(settings, batch_id).merged == 1


def test_two_runs_at_once_take_each_file_once(settings):
    for number in range(6):
        write(settings.inbox_path, f"{number}.csv", *(line(invoice=f"{number}{row:05d}") for row in range(200)))
    results, start = [], threading.Barrier(2)

    def run():
        start.wait()
        try:
            results.append(ingest.ingest(settings))
        except InputError as error:  # it came too late: all files were gone
            results.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert len(stored(settings)) == 1200
    assert rows(settings, "select sum(lines_merged) from raw.batch where status = 'merged'") == [(1200,)]
    assert rows(settings, "select count(*) from raw.batch where status = 'landed'") == [(0,)]
    assert not list(settings.inbox_path.iterdir())


def _land_and_die(settings, path):
    landing.as_typed = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # in the middle of a file
    landing.land_files(settings, [path], rules_sha256="")


def test_a_process_that_dies_while_it_lands_leaves_nothing_behind(settings, tmp_path):
    path = str(write(tmp_path, "a.csv", line()))
    process = multiprocessing.get_context("spawn").Process(target=_land_and_die, args=(settings, path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert rows(settings, "select count(*) from raw.batch") == [(0,)]
    assert ingest.ingest(settings, [path]).merged == 1


def test_an_invoice_in_several_files_of_a_batch_is_one_invoice(settings, tmp_path):
    folder = tmp_path / "drop"
    write(folder, "a.csv", line(code="1"), line(code="1"), line(code="2"))
    write(folder, "b.csv", line(code="3"))
    assert ingest.ingest(settings, [str(folder)]).merged == 4
    assert [code for _, code, _ in stored(settings)] == ["1", "1", "2", "3"]


def test_a_line_in_two_files_of_a_batch_counts_once_but_equal_lines_of_one_file_all_count(settings, tmp_path):
    folder = tmp_path / "drop"
    write(folder, "a.csv", line(code="1"), line(code="1"), line(code="2"))
    write(folder, "b.csv", line(code="1"), line(code="2"), line(code="3"))
    counts = ingest.ingest(settings, [str(folder)])
    assert (counts.read, counts.merged, counts.unchanged) == (6, 4, 2)
    assert [code for _, code, _ in stored(settings)] == ["1", "1", "2", "3"]


def test_the_order_of_lines_in_a_file_does_not_matter(settings, tmp_path):
    lines = [line(code=code, text=text) for code in ("b", "a", "a") for text in ("x", "")]
    ingest.ingest(settings, [str(write(tmp_path, "a.csv", *lines))])
    assert ingest.ingest(settings, [str(write(tmp_path, "b.csv", *reversed(lines)))]).unchanged == 6


def test_the_same_bytes_under_another_name_are_recognised(settings, tmp_path):
    ingest.ingest(settings, [str(write(tmp_path, "a.csv", line(), line(quantity=0)))])
    again = ingest.ingest(settings, [str(write(tmp_path, "b.csv", line(), line(quantity=0)))])
    assert again.reason == "the same bytes as batch 1 (a.csv): nothing to change"
    assert (again.read, again.merged, again.unchanged, again.quarantined) == (2, 0, 1, 1)
    folder = tmp_path / "twins"
    write(folder, "c.csv", line(invoice="2"))
    write(folder, "d.csv", line(invoice="2"))
    assert ingest.ingest(settings, [str(folder)]).read == 1
    assert rows(settings, "select note from raw.batch_file where name = 'd.csv'") == [
        ("the same bytes as c.csv: not read again",)
    ]


def test_bytes_that_were_loaded_before_are_read_again_if_their_invoices_have_changed_since(settings, tmp_path):
    first = str(write(tmp_path, "a.csv", line(quantity=1)))
    ingest.ingest(settings, [first])
    ingest.ingest(settings, [str(write(tmp_path, "b.csv", line(quantity=2)))])
    assert ingest.ingest(settings, [first]).merged == 1
    assert stored(settings) == [("536365", "85123A", 1)]


def test_a_product_keeps_its_newest_good_description_in_any_order_of_files(settings, tmp_path):
    old = str(write(tmp_path, "old.csv", line(code="15056bl", text="OLD", date="2010-12-01 08:00:00")))
    new = str(
        write(
            tmp_path, "new.csv",
            line("2", "15056BL", text="NEW", date="2011-12-01 08:00:00"),
            line("3", "15056BL", text="damaged", price=0, date="2011-12-02 08:00:00"),
        )
    )  # fmt: skip
    ingest.ingest(settings, [new])
    ingest.ingest(settings, [old])
    assert described(settings) == {"15056BL": "NEW"}
    ingest.ingest(settings, [str(write(tmp_path, "c.csv", line("2", "OTHER", date="2011-12-01 08:00:00")))])
    assert described(settings) == {"15056BL": "OLD", "OTHER": "HOLDER"}


@pytest.mark.parametrize(
    ("dates", "newest"),
    [
        # a line of the same invoice, an earlier one of another, one from long ago
        ({"2": "2011-12-01 08:00:00", "3": "2011-10-01 08:00:00"}, "2 AGAIN"),
        ({"2": "2011-10-01 08:00:00", "3": "2011-11-30 08:00:00"}, "3"),
        ({"2": "2009-10-01 08:00:00", "3": "2010-10-01 08:00:00"}, "3"),
        ({"2": "2010-10-02 08:00:00", "3": "2010-10-01 08:00:00"}, "2 AGAIN"),
    ],
)
def test_a_description_whose_line_is_gone_is_found_among_all_lines_however_old(settings, tmp_path, dates, newest):
    def as_of(number, text):
        return line(number, "15056BL", text=text, date=dates[number])

    first = [line("2", "15056BL", text="GONE", date="2011-12-01 08:00:00"), as_of("3", "3")]
    older = line("4", "15056bl", text="4", date="2008-01-01 08:00:00")
    ingest.ingest(settings, [str(write(tmp_path, "a.csv", *first, older, line("5", "OTHER")))])
    assert described(settings) == {"15056BL": "GONE", "OTHER": "HOLDER"}
    ingest.ingest(settings, [str(write(tmp_path, "b.csv", as_of("2", "2 AGAIN")))])
    assert described(settings) == {"15056BL": newest, "OTHER": "HOLDER"}


@pytest.mark.parametrize(("again", "newest"), [("A", "A"), ("Z", "B")])
def test_of_two_descriptions_at_the_same_instant_the_first_in_the_alphabet_is_kept(settings, tmp_path, again, newest):
    first = [line("2", "15056BL", text="A"), line("3", "15056BL", text="B")]
    ingest.ingest(settings, [str(write(tmp_path, "a.csv", *first))])
    again = line("2", "15056BL", text=again, quantity=7)
    ingest.ingest(settings, [str(write(tmp_path, "b.csv", again))])
    assert described(settings) == {"15056BL": newest}


def test_the_record_of_a_batch_whose_invoices_are_stored_cannot_be_deleted(settings, tmp_path):
    batch_id = ingest.ingest(settings, [str(write(tmp_path, "a.csv", line()))]).batch_id
    with pytest.raises(DatabaseError, match=f"batch {batch_id} has brought invoices that are stored"):
        rows(settings, f"delete from raw.batch where batch_id = {batch_id} returning 1")
    assert rows(settings, "select lines_merged from raw.batch") == [(1,)]
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("delete from retail.invoice_line; delete from retail.invoice")
        cursor.execute("delete from raw.batch")


def test_the_index_on_dates_knows_all_lines_as_soon_as_a_batch_is_merged(settings, tmp_path):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into retail.invoice_line select i, 1, 'A', 'A', 1, '2010-12-01', 1, null, null, 1 "
            "from generate_series(1, 20000) as i"  # two ranges of blocks
        )
    ingest.ingest(settings, [str(write(tmp_path, "a.csv", line()))])
    assert rows(settings, "select brin_summarize_new_values('retail.invoice_line_by_date')") == [(0,)]


def test_a_file_with_mostly_broken_lines_is_rejected_as_a_whole_with_the_reason_beside_it(settings):
    write(settings.inbox_path, "shifted.csv", *(line(quantity="x") for _ in range(1500)))
    with pytest.raises(QualityError, match=r"shifted\.csv: Most lines can be read"):
        ingest.ingest(settings)
    rejected = settings.inbox_path.parent / "rejected"
    beside = json.loads((rejected / "shifted.csv.reason.json").read_text())
    assert beside["file"] == "shifted.csv"
    assert "most_lines_are_readable" in beside["reason"]
    assert rows(settings, "select status, lines_read from raw.batch") == [("rejected", 1500)]
    assert rows(settings, "select count(*) from raw.landed_line") == [(0,)]
    with pytest.raises(QualityError):
        ingest.validate(settings, 1)


def test_awkward_file_names_do_no_harm(settings):
    names = [
        "a b.csv",
        'it\'s "so".csv',
        "..hidden",
        "new\nline.csv",
        "[red]x.csv",
        os.fsdecode(b"\xff\xfe.csv"),
        "x;drop table x.csv",
        "ü.csv",
    ]
    for number, name in enumerate(names):
        write(settings.inbox_path, name, line(invoice=str(number)))
    (settings.inbox_path / "bad\nname.csv").write_text("nothing")
    counts = ingest.ingest(settings)
    assert counts.read == len(names) - 1  # a hidden file is left alone
    ((refused,),) = rows(settings, "select reason from raw.batch where status = 'rejected'")
    assert "\n" not in refused
    assert [path.name for path in settings.inbox_path.iterdir()] == ["..hidden"]
    assert (settings.inbox_path.parent / "processed" / "new\nline.csv").exists()
    assert (settings.inbox_path.parent / "rejected" / "bad\nname.csv").exists()


def test_a_file_that_is_still_growing_is_left_for_the_next_run(settings):
    patient = settings.model_copy(update={"inbox_settle_seconds": 0.5})
    write(settings.inbox_path, "whole.csv", line())
    growing = write(settings.inbox_path, "growing.csv", line())
    write(settings.inbox_path, "copied.csv.part", line())
    stop = threading.Event()

    def grow():
        while not stop.wait(0.05):
            with growing.open("a") as file:
                file.write(f"\n{line()}")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        files = ingest.discover(patient)
    finally:
        stop.set()
        writer.join()
    assert [path.rpartition("/")[2] for path in files] == ["whole.csv"]


def test_a_file_does_not_replace_a_processed_file_of_the_same_name(settings):
    for quantity in (1, 2):
        write(settings.inbox_path, "day.csv", line(quantity=quantity))
        ingest.ingest(settings)
    processed = settings.inbox_path.parent / "processed"
    assert sorted(path.name for path in processed.iterdir()) == ["day-batch000002.csv", "day.csv"]


def test_files_are_found_by_path_folder_glob_and_url(settings, tmp_path):
    first, second = (str(write(tmp_path / "in", name, line())) for name in ("a.csv", "b.csv"))
    write(tmp_path / "in", "notes.txt", "hello")
    both = [first, second]
    assert ingest.discover(settings, [str(tmp_path / "in")]) == both
    assert ingest.discover(settings, [str(tmp_path / "in" / "*.csv")]) == both
    assert ingest.discover(settings, [(tmp_path / "in" / "a.csv").as_uri(), second, first]) == both
    assert ingest.discover(settings) == []
    for nothing in ("nowhere.csv", "*.xlsx", "file:///nowhere/at/all.csv"):
        with pytest.raises(InputError, match="there is no such file"):
            ingest.discover(settings, [nothing])


def test_a_file_in_an_object_store_is_loaded(settings, monkeypatch):
    import fsspec

    monkeypatch.setenv("NCF_URL_SCHEMES", "memory")

    memory = fsspec.filesystem("memory")
    memory.pipe("/shop/a.csv", f"{HEADER}\n{line()}".encode())
    assert ingest.discover(settings, ["memory://shop/*.csv"]) == ["memory:///shop/a.csv"]
    assert ingest.ingest(settings, ["memory://shop/a.csv"]).merged == 1
    with pytest.raises(InputError, match="there is no such file"):
        ingest.ingest(settings, ["memory://shop/b.csv"])
