"""Who can drop files into the inbox cannot have others of this machine read."""

import json
import os

import pytest

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest import rehearsal, stages
from ncf_pipeline.ingest.fetching import FileChangedError, check_unchanged, fetch
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINE = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom"


@pytest.fixture
def inbox(settings):
    settings.inbox_path.mkdir()
    return settings.inbox_path


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "elsewhere" / "secret.csv"
    path.parent.mkdir()
    path.write_text(f"{HEADER}\n{LINE}\n")
    return path


def lines(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from retail.invoice_line")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("target", ["{secret}", "../elsewhere/secret.csv", "/dev/zero", "/nowhere/at/all.csv"])
def test_a_link_out_of_the_inbox_is_refused_and_what_it_names_is_not_read(settings, inbox, secret, target):
    (inbox / "day.csv").symlink_to(target.format(secret=secret))
    with pytest.raises(InputError, match=r"day\.csv is a link that leads out of the inbox, so it is not followed\."):
        stages.ingest(settings)
    assert lines(settings) == 0
    assert secret.exists()
    rejected = inbox.parent / "rejected"
    assert str((rejected / "day.csv").readlink()) == target.format(secret=secret)
    assert "leads out of the inbox" in json.loads((rejected / "day.csv.reason.json").read_text())["reason"]


def test_a_link_out_of_the_inbox_is_not_followed_if_a_person_names_it_there_or_tries_it_dry(settings, inbox, secret):
    (inbox / "day.csv").symlink_to(secret)
    for step in (rehearsal.rehearse, stages.ingest):
        with pytest.raises(InputError, match="leads out of the inbox"):
            step(settings, [str(inbox / "day.csv")])


def test_a_link_to_another_file_of_the_inbox_is_followed_and_one_elsewhere_too(settings, inbox, secret, tmp_path):
    (inbox / "uci").mkdir()
    (inbox / "uci" / "day.csv").write_text(f"{HEADER}\n{LINE}\n")
    (inbox / "latest.csv").symlink_to("uci/day.csv")
    assert stages.ingest(settings).read == 2
    named = tmp_path / "named.csv"
    named.symlink_to(secret)
    assert stages.ingest(settings, [str(named)]).unchanged == 1


def test_a_folder_of_the_inbox_that_leads_out_of_it_is_not_read_and_the_log_says_so(settings, inbox, secret, caplog):
    (inbox / "uci").symlink_to(secret.parent)
    with caplog.at_level("WARNING", logger="ncf_pipeline"):
        assert stages.discover(settings) == []
    assert "The folder uci of the inbox is a link that leads out of it" in caplog.text
    assert secret.exists()


@pytest.mark.parametrize("name", ["pipe.csv", "loop.csv", "gone.csv"])
def test_pipes_loops_and_links_to_nothing_are_refused_and_the_others_are_loaded(settings, inbox, name):
    if name == "pipe.csv":
        os.mkfifo(inbox / name)
    else:
        (inbox / name).symlink_to(name if name == "loop.csv" else "nothing.csv")
    (inbox / "good.csv").write_text(f"{HEADER}\n{LINE}\n")
    counts = stages.ingest(settings)
    assert counts.merged == 1
    assert [file.name for file in counts.rejected_files] == [name]
    assert list(inbox.iterdir()) == []


def test_a_file_that_becomes_a_link_while_it_is_read_is_noticed_although_it_looks_the_same(inbox, secret, tmp_path):
    day = inbox / "day.csv"
    day.write_bytes(secret.read_bytes())
    source = fetch(str(day), tmp_path, inbox=inbox)
    check_unchanged(source)
    times = day.stat()
    day.unlink()
    day.symlink_to(secret)
    os.utime(secret, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(FileChangedError):
        check_unchanged(source)
