"""Which mapping reads which file: folders of the inbox, `mapping=`, and what the batch says of it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.mappings import store
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINE = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom"


def drop(folder, name="day.csv", invoice="536365"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"{HEADER}\n{LINE.replace('536365', invoice)}\n")
    return path


def read_by(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select name, mapping from raw.batch_file order by batch_id, file_number")
        return cursor.fetchall()


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_batch_has_the_files_of_the_inbox_and_of_its_folders_each_read_by_its_mapping(settings):
    inbox = settings.inbox_path
    drop(inbox, "a.csv", "1")
    drop(inbox / "uci", "b.csv", "2")
    drop(inbox / "online-retail-ii", "c.csv", "3").write_text(
        f"{HEADER.replace('UnitPrice', 'Price').replace('InvoiceNo', 'Invoice')}\n{LINE.replace('536365', '3')}\n"
    )
    found = ingest.discover(settings)
    assert found == [
        str(inbox / "a.csv"),
        {"location": str(inbox / "online-retail-ii" / "c.csv"), "mapping": "online-retail-ii"},
        {"location": str(inbox / "uci" / "b.csv"), "mapping": "uci"},
    ]
    assert json.loads(json.dumps(found)) == found  # as Airflow passes it on
    counts = ingest.ingest(settings)
    assert (counts.read, counts.merged, counts.rejected_files) == (3, 3, ())
    assert read_by(settings) == [("a.csv", None), ("c.csv", "online-retail-ii"), ("b.csv", "uci")]
    assert files_under(inbox) == []
    assert files_under(inbox.parent / "processed") == ["a.csv", "online-retail-ii/c.csv", "uci/b.csv"]


def test_a_refused_file_goes_to_the_folder_of_its_mapping_with_the_reason(settings):
    inbox = settings.inbox_path
    drop(inbox / "uci", "bad.csv").write_text("nothing,of,use\n1,2,3\n")
    drop(inbox / "uci", "good.csv")
    counts = ingest.ingest(settings)
    assert [file.name for file in counts.rejected_files] == ["bad.csv"]
    assert files_under(inbox.parent / "rejected") == ["uci/bad.csv", "uci/bad.csv.reason.json"]
    assert files_under(inbox) == []


@pytest.mark.parametrize("name", ["Uci", "shop ify", "nobody", "a" * 41, "%", "käse", "-x"])
def test_files_of_a_folder_without_a_mapping_stay_and_one_line_says_so(settings, caplog, name):
    waiting = drop(settings.inbox_path / name)
    drop(settings.inbox_path / name, "second.csv")
    with caplog.at_level("WARNING", logger="ncf_pipeline"):
        assert ingest.discover(settings) == []
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("2 files wait in the inbox's folder ")
    assert "there is no mapping of that name" in line
    assert ("Rename the folder to uci" in line) == (name == "Uci")
    assert waiting.exists()
    (folder,) = ingest.unread_folders(settings)
    assert (folder.name, folder.files) == (name, 2)
    drop(settings.inbox_path, "other.csv")
    assert ingest.ingest(settings).read == 1  # the others are read
    assert waiting.exists()


def test_folders_that_are_empty_hidden_or_hold_folders_are_of_no_concern(settings):
    inbox = settings.inbox_path
    for name in ("nobody", ".hidden", "shopify/deeper"):
        (inbox / name).mkdir(parents=True)
    drop(inbox / ".hidden")
    drop(inbox / "shopify" / "deeper")
    (inbox / "nobody" / "x.csv.part").write_text("")
    assert ingest.discover(settings) == []
    assert ingest.unread_folders(settings) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_stops_nothing(settings):
    drop(settings.inbox_path / "uci").parent.chmod(0)
    drop(settings.inbox_path)
    assert ingest.ingest(settings).merged == 1


def test_a_mapping_that_is_named_reads_the_files_and_the_batch_says_so(settings, tmp_path):
    path = drop(tmp_path)
    counts = ingest.ingest(settings, [str(path)], mapping="uci")
    assert read_by(settings) == [("day.csv", "uci")]
    summary = batch_summary(settings, counts.batch_id)
    assert "read by the mapping uci: day.csv" in summary.notes
    (file,) = summary.as_dict()["mapped_files"]
    assert (file["name"], file["mapping"], len(file["sha256"])) == ("day.csv", "uci", 64)
    assert path.exists()
    page = Path(settings.artifacts.removeprefix("file://")) / "data_docs/invoices" / f"batch-{counts.batch_id:06d}.html"
    assert "Read by the mapping uci: day.csv" in page.read_text()


def test_without_paths_a_mapping_that_is_named_reads_what_lies_directly_in_the_inbox(settings):
    drop(settings.inbox_path, "a.csv")
    drop(settings.inbox_path / "online-retail-ii", "b.csv")
    assert [file["mapping"] for file in ingest.discover(settings, None, "uci")] == ["uci", "online-retail-ii"]


def test_a_file_of_a_folder_that_is_named_by_its_path_is_read_by_its_mapping(settings):
    path = str(drop(settings.inbox_path / "uci"))
    assert ingest.discover(settings, [path]) == [{"location": path, "mapping": "uci"}]
    assert ingest.discover(settings, [path], "shopify") == [{"location": path, "mapping": "shopify"}]
    unknown = str(drop(settings.inbox_path / "nobody"))
    with pytest.raises(InputError, match="There is no mapping 'nobody'"):
        ingest.discover(settings, [unknown])


def test_an_unknown_mapping_is_refused_before_anything_is_looked_for(settings):
    with pytest.raises(InputError, match=r"There is no mapping 'shopfy'\. Did you mean shopify\?"):
        ingest.ingest(settings, ["/nowhere.csv"], mapping="shopfy")


def test_a_mapping_that_is_removed_while_files_wait_leaves_them_where_they_are(settings):
    store.save(settings, store.named(settings, "uci").yaml.replace("name: uci", "name: ours"), saved_by="anna")
    path = drop(settings.inbox_path / "ours")
    files = ingest.discover(settings)
    store.remove(settings, "ours", removed_by="ben")
    with pytest.raises(InputError, match=r"day.csv is left where it is: There is no mapping 'ours'"):
        ingest.land(settings, files)
    assert path.exists()
    assert ingest.discover(settings) == []
    assert [folder.name for folder in ingest.unread_folders(settings)] == ["ours"]


def test_the_same_bytes_are_read_again_if_another_mapping_reads_them(settings, tmp_path):
    path = str(drop(tmp_path))
    assert ingest.ingest(settings, [path]).merged == 1
    assert "same bytes" in ingest.ingest(settings, [path]).reason
    by_mapping = ingest.ingest(settings, [path], mapping="uci")
    assert (by_mapping.reason, by_mapping.unchanged) == (None, 1)
    again = ingest.ingest(settings, [path], mapping="uci")
    assert "same bytes" in again.reason
    assert batch_summary(settings, again.batch_id).mapped_files[0].mapping == "uci"


def test_what_a_mapping_said_when_it_read_a_batch_can_still_be_shown(settings, tmp_path):
    text = store.named(settings, "uci").yaml.replace("name: uci", "name: ours")
    store.save(settings, text, saved_by="anna")
    batch = ingest.ingest(settings, [str(drop(tmp_path))], mapping="ours").batch_id
    store.save(settings, f"{text}invoices: parts\n", saved_by="anna")
    assert "parts" not in store.used_by_batch(settings, "ours", batch)[0]
    assert "parts" in store.named(settings, "ours").yaml
    with pytest.raises(InputError, match="No file of batch"):
        store.used_by_batch(settings, "uci", batch)


def test_a_run_that_was_killed_after_landing_continues_with_the_files_of_folders(settings):
    drop(settings.inbox_path / "uci")
    batch = ingest.land(settings, ingest.discover(settings))
    assert ingest.land(settings, ingest.discover(settings)) == batch
    assert ingest.ingest(settings).batch_id == batch
    assert files_under(settings.inbox_path) == []
    # After its transaction, before the move.
    shutil.move(settings.inbox_path.parent / "processed/uci/day.csv", settings.inbox_path / "uci/day.csv")
    assert ingest.ingest(settings).unchanged == 1
    assert files_under(settings.inbox_path) == []
