"""Files in, lines in Postgres: none is lost or doubled, and a file that cannot be used is refused with the reason."""

import json

import pytest

from ncf_pipeline import synthetic
from ncf_pipeline.errors import NcfError
from ncf_pipeline.ingest import merging
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom"


def load(settings, path):
    return ingest.ingest(settings, [str(path)])


def stored(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select invoice_no, line_number, stock_code, description, quantity, invoice_date, unit_price,"
            " customer_id, country from retail.invoice_line order by invoice_no, line_number"
        )
        return cursor.fetchall()


def balanced(counts):
    return counts.read == counts.merged + counts.unchanged + counts.quarantined


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", "\t"), ("cp1252", ";")]
)
def test_a_csv_is_read_with_any_encoding_and_delimiter(settings, tmp_path, encoding, delimiter):
    text = f"{HEADER}\n{GOOD.replace('HOLDER', 'CAFÉ £5')}\n".replace(",", delimiter)
    (tmp_path / "day.csv").write_text(text, encoding=encoding)
    counts = load(settings, tmp_path / "day.csv")
    assert (counts.read, counts.merged) == (1, 1)
    ((invoice, _, code, description, quantity, _, price, customer, country),) = stored(settings)
    assert (invoice, code, description, quantity) == ("536365", "85123A", "CAFÉ £5", 6)
    assert (float(price), customer, country) == (2.55, "17850", "United Kingdom")


def test_codes_stay_text_and_guests_stay_guests(settings, tmp_path):
    (tmp_path / "day.csv").write_text(f"{HEADER}\n0123,00071,X,1,2010-12-01 08:26:00,1,,France\n")
    load(settings, tmp_path / "day.csv")
    ((invoice, _, code, *_, customer, _),) = stored(settings)
    assert (invoice, code, customer) == ("0123", "00071", None)


@pytest.mark.parametrize(
    "broken",
    [
        GOOD.replace(",6,", ",six,"),
        GOOD.replace(",6,", ",0,"),
        GOOD.replace("2.55", "-2.55"),
        GOOD.replace("2.55", "1e300"),
        GOOD.replace("2.55", "NaN"),
        GOOD.replace("2.55", "inf"),
        GOOD.replace("2010-12-01", "1900-12-01"),
        GOOD.replace("2010-12-01", "2099-12-01"),
        GOOD.replace("85123A", ""),
        GOOD.replace("17850", "6.2E+12"),
    ],
)
def test_a_broken_line_waits_in_quarantine_with_the_rules_name_and_the_others_are_merged(settings, tmp_path, broken):
    # Among good lines, because a batch with mostly broken lines may be rejected as a whole.
    good = [GOOD.replace("536365", str(600_000 + number)) for number in range(60)]
    (tmp_path / "day.csv").write_text("\n".join([HEADER, *good, broken]) + "\n")
    counts = load(settings, tmp_path / "day.csv")
    assert (counts.read, counts.merged, counts.quarantined) == (61, 60, 1)
    summary = batch_summary(settings)
    assert summary.reasons
    assert all(reason.sentence and reason.lines == 1 for reason in summary.reasons)
    json.dumps(summary.as_dict())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("not a workbook.xlsx", b"this is text"),
        ("empty.csv", b""),
        ("a column is missing.csv", b"InvoiceNo,StockCode\n1,2\n"),
        ("only a header.csv", HEADER.encode()),
        ("renamed.csv", b"PK\x03\x04" + bytes(100)),
        ("damaged.csv.gz", b"\x1f\x8b" + bytes(20)),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line_that_names_it(settings, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NcfError, match=name.split(".")[0]) as raised:
        load(settings, tmp_path / name)
    assert "\n" not in str(raised.value)
    assert stored(settings) == []
    assert (tmp_path / name).read_bytes() == content  # a file outside the inbox stays where it is


def test_the_same_file_again_changes_nothing_and_a_corrected_invoice_replaces_its_lines(settings, tmp_path):
    second = GOOD.replace("85123A", "71053")
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{GOOD}\n{second}\n")
    assert load(settings, tmp_path / "a.csv").merged == 2
    again = load(settings, tmp_path / "a.csv")
    assert (again.merged, again.unchanged) == (0, 2)
    (tmp_path / "b.csv").write_text(f"{HEADER}\n{second}\n{GOOD}\n")  # other bytes, the same content
    assert load(settings, tmp_path / "b.csv").unchanged == 2
    (tmp_path / "c.csv").write_text(f"{HEADER}\n{GOOD.replace(',6,', ',7,')}\n")
    corrected = load(settings, tmp_path / "c.csv")
    assert (corrected.merged, corrected.replaced) == (1, 2)
    assert [line[4] for line in stored(settings)] == [7]


def test_the_workbook_and_its_day_files_give_the_same_lines_in_any_order(settings, tmp_path):
    shop = {"customers": 40, "products": 60, "days": 40, "seed": 5}
    synthetic.write_workbook(tmp_path / "shop.xlsx", **shop)
    synthetic.write_day_files(tmp_path / "days", **shop)
    first = load(settings, tmp_path / "shop.xlsx")
    assert balanced(first)
    assert first.quarantined > 0
    of_workbook = stored(settings)
    then = load(settings, tmp_path / "days")
    assert balanced(then)
    assert then.merged == 0
    assert stored(settings) == of_workbook
    with transaction(settings) as connection:
        connection.cursor().execute(
            "truncate raw.batch, raw.landed_line, raw.quarantined_line, retail.invoice, retail.invoice_line cascade"
        )
    assert balanced(load(settings, tmp_path / "days"))
    assert stored(settings) == of_workbook


def test_files_leave_the_inbox_once_they_are_merged_or_refused(settings):
    inbox = settings.inbox_path
    inbox.mkdir(parents=True)
    (inbox / "good.csv").write_text(f"{HEADER}\n{GOOD}\n")
    (inbox / "bad.csv").write_text("nothing of use\n")
    counts = ingest.ingest(settings)
    assert counts.merged == 1
    assert [file.name for file in counts.rejected_files] == ["bad.csv"]
    assert not [path for path in inbox.rglob("*") if path.is_file() and path.parent == inbox]
    kept = {path.name for path in inbox.parent.rglob("*") if path.is_file()}
    assert {"good.csv", "bad.csv"} <= {name.split("--")[-1] for name in kept} | kept


def indexes(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select indexdef from pg_indexes where tablename = 'invoice_line' order by indexdef")
        return [definition for (definition,) in cursor.fetchall()]


def whether_aside(monkeypatch):
    answers = []
    monkeypatch.setattr(merging, "BULK_LINES", 1)
    asked = merging._set_lookups_aside
    monkeypatch.setattr(merging, "_set_lookups_aside", lambda *args: answers.append(asked(*args)) or answers[-1])
    return answers


def test_a_load_as_large_as_the_shop_makes_the_indexes_for_pages_anew(settings, tmp_path, monkeypatch):
    before, answers = indexes(settings), whether_aside(monkeypatch)
    (tmp_path / "day.csv").write_text(f"{HEADER}\n{GOOD}\n{GOOD.replace('85123A', '22423')}\n")
    load(settings, tmp_path / "day.csv")
    assert indexes(settings) == before
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("analyze retail.invoice_line")
    (tmp_path / "day.csv").write_text(f"{HEADER}\n{GOOD.replace('536365', '536366')}\n")
    load(settings, tmp_path / "day.csv")
    assert answers == [True], "the second load is smaller than the shop"
    assert [line[0] for line in stored(settings)] == ["536365", "536365", "536366"]


def test_a_large_load_waits_for_no_reader(settings, tmp_path, monkeypatch):
    before, answers = indexes(settings), whether_aside(monkeypatch)
    (tmp_path / "day.csv").write_text(f"{HEADER}\n{GOOD}\n")
    with transaction(settings) as reading, reading.cursor() as cursor:
        cursor.execute("select count(*) from retail.invoice_line")
        load(settings, tmp_path / "day.csv")
    assert answers == [False]
    assert len(stored(settings)) == 1
    assert indexes(settings) == before
