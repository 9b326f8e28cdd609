"""Customers with ids of any kind, through all stages: as the shop wrote them, and erased."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import DatabaseError, InputError
from ncf_pipeline.ingest.corrections import quarantined_lines
from ncf_pipeline.ingest.stages import ingest, release
from ncf_pipeline.storage.database import transaction

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
ANNA, BETH = "anna@example.com", "joanna@example.com"
ODD = ["a b", "x:y", "50%", "a_b", "c\\d", 'the "5th"', "O'Neill", "../x", "\N{GRINNING FACE}", "*", "17850", "NaN-1"]


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def line(invoice, customer, quantity="6", country="United Kingdom"):
    return f"{invoice},85123A,HEART,{quantity},2010-12-01 08:26:00,2.55,{quoted(customer)},{country}"


def write(folder, *lines, name="day.csv"):
    (folder / name).write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    return str(folder / name)


def read(settings, statement, *values):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def customers(settings):
    return dict(read(settings, "select invoice_no, customer_id from retail.invoice_line order by 1"))


def test_ids_of_any_kind_are_stored_as_they_are(settings, tmp_path):
    ids = ["C-1001", ANNA, "017850", "9007199254740993", "6213456789012", "550e8400-e29b-41d4-a716-446655440000", *ODD]
    bad = ["17,850", "6.21346E+12", "-5", "17850.5", "x" * 255]
    path = write(tmp_path, *[line(f"F{number:04d}", each) for number, each in enumerate([*ids, *bad])])
    counts = ingest(settings, [path])
    assert (counts.merged, counts.quarantined) == (len(ids), len(bad))
    assert list(customers(settings).values()) == ids
    waiting = quarantined_lines(settings)
    assert [each.original["customer_id"] for each in waiting] == bad
    assert {each.unreadable for each in waiting} == {("customer_id",)}
    assert "CustomerID holds '6.21346E+12'. What is read: a code of up to 254" in waiting[1].reasons[0]
    again = write(tmp_path, *[line(f"F{number:04d}", each) for number, each in enumerate(ids)], name="again.csv")
    assert ingest(settings, [again]).unchanged == len(ids)


def test_floats_are_numbers_and_lines_with_lost_digits_wait_alone(settings, tmp_path):
    lines = [line("536365", "17850.0"), line("536366", ""), line("536367", "6.2E+12"), line("536368", "12346.0")]
    counts = ingest(settings, [write(tmp_path, *lines)])
    assert (counts.merged, counts.quarantined) == (3, 1)
    assert list(customers(settings).values()) == ["17850", None, "12346"]
    assert release(settings, [1], {"customer_id": "6213456789012"}).merged == 1
    assert customers(settings)["536367"] == "6213456789012"


def test_a_file_whose_long_ids_were_rounded_is_refused(settings, tmp_path):
    rounded = write(tmp_path, line("536365", "1234567890123450000"), line("536366", "1234567890123460000"))
    with pytest.raises(InputError, match="row 2, CustomerID: 1234567890123450000 has lost digits"):
        ingest(settings, [rounded])


def shop(settings, folder):
    """Two customers with similar addresses, a few others, and broken lines of both; returns the file."""
    lines = [line(f"A{number}", ANNA) for number in range(3)] + [line(f"B{number}", BETH) for number in range(3)]
    lines += [line(f"O{number}", each) for number, each in enumerate(ODD)]
    lines += [line("Q1", ANNA, "0"), line("Q2", ANNA, "six"), line("Q3", BETH, "six"), f"{line('Q4', ANNA)},x,y"]
    path = write(folder, *lines, name=f"export of {ANNA}.csv")
    assert ingest(settings, [path]).quarantined == 4
    return path


def once_more(path):
    """The same file with one more line, so that it is read again."""
    again = Path(path).with_name("again.csv")
    again.write_text(f"{Path(path).read_text()}{line('Z1', '')}\n")
    return str(again)


def places(settings, customer):
    """Every row that holds the id, by a search that shares no code with the one under test."""
    found = []
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema in ('raw', 'retail', 'ml', 'ops')"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select t::text from {table} as t where position(%s in t::text) > 0", (customer,))
            found += [f"{table} {row}" for (row,) in cursor.fetchall()]
    return found


def test_an_address_is_erased_by_the_command_and_an_old_file_does_not_bring_it_back(
    settings, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    for name, value in {
        "NCF_HOME": settings.home, "NCF_DATABASE_URL": settings.database(), "NCF_REDIS_URL": settings.list_store(),
        "NCF_ARTIFACTS": settings.artifacts, "NCF_INBOX": settings.inbox_path, "NCF_KEY_PREFIX": settings.key_prefix,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    path = shop(settings, tmp_path)
    of_others = {invoice: each for invoice, each in customers(settings).items() if each != ANNA}
    left_of_others = len(places(settings, BETH))
    caplog.clear()

    done = CliRunner().invoke(app, ["forget", ANNA, "--yes", "--json"])

    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["customer"] == "***@***"
    assert report["places"]["retail.invoice_line.customer_id"] == 3
    assert report["places"]["raw.quarantined_line.original"] == 3
    assert ANNA not in done.output.replace(BETH, "") + caplog.text.replace(BETH, "")
    assert [row for row in places(settings, ANNA) if ANNA in row.replace(BETH, "")] == []
    assert len(places(settings, BETH)) == left_of_others
    stored = customers(settings)
    assert {invoice: each for invoice, each in stored.items() if not invoice.startswith("A")} == of_others
    assert [stored[f"A{number}"] for number in range(3)] == [None] * 3

    counts = ingest(settings, [once_more(path)])
    assert (counts.merged, counts.unchanged, counts.quarantined) == (1, 6 + len(ODD), 4)
    assert customers(settings) == stored | {"Z1": None}
    assert [row for row in places(settings, ANNA) if ANNA in row.replace(BETH, "")] == []


def test_any_id_is_erased_and_nobody_else(settings, tmp_path):
    path = shop(settings, tmp_path)
    wanted = customers(settings)
    for customer in ODD:
        done = forget(settings, customer, requested_by="test")
        assert done.places["retail.invoice_line.customer_id"] == 1, customer
        assert not any(done.left.values())
        wanted = {invoice: None if each == customer else each for invoice, each in wanted.items()}
        assert customers(settings) == wanted
        with pytest.raises(InputError, match="Nothing names customer"):
            forget(settings, f"{customer}?", requested_by="test")
    assert ingest(settings, [once_more(path)]).merged == 1
    assert customers(settings) == wanted | {"Z1": None}


@pytest.mark.parametrize("customer", ["", " ", "0"])
def test_a_guest_cannot_be_erased(settings, customer):
    with pytest.raises(InputError, match="A guest has no id"):
        forget(settings, customer, requested_by="test")


def test_an_erased_number_is_also_known_with_zeros_before_it(settings, tmp_path):
    ingest(settings, [write(tmp_path, line("536365", "17850"), line("536366", "12346"))])
    forget(settings, "17850", requested_by="test")
    lines = [line("536367", "017850"), line("536368", "017850.0", "six"), line("536369", "0017851")]
    ingest(settings, [write(tmp_path, *lines, name="b.csv")])
    assert customers(settings) == {"536365": None, "536366": "12346", "536367": None, "536369": "0017851"}
    (waiting,) = quarantined_lines(settings)
    assert "customer_id" not in waiting.original


def test_who_buys_after_the_erasure_is_a_new_customer(settings, tmp_path):
    ingest(settings, [write(tmp_path, line("536365", ANNA))])
    forget(settings, ANNA, requested_by="test")
    later = line("536366", ANNA).replace(
        "2010-12-01 08:26:00", f"{datetime.now() + timedelta(hours=1):%Y-%m-%d %H:%M:%S}"
    )
    ingest(settings, [write(tmp_path, later, name="later.csv")])
    assert customers(settings) == {"536365": None, "536366": ANNA}


def test_fractions_of_a_quantity_keep_their_value_and_no_zeros(settings):
    """Postgres keeps what a mapping may let through; the hash of an invoice does not depend on zeros at the end."""
    content = "select retail.line_content('A', null, trim_scale(%s::numeric), '2011-01-01', 2.5, 'a', null)"
    assert read(settings, content, "0.250") == read(settings, content, "0.25")
    assert read(settings, content, "6.000") == read(settings, content, "6")


def test_nothing_but_text_and_numeric_is_left(settings):
    kinds = read(
        settings,
        "select distinct column_name, data_type from information_schema.columns"
        " where column_name in ('customer_id', 'quantity') and table_schema in ('raw', 'retail', 'ml')",
    )
    assert sorted(kinds) == [("customer_id", "text"), ("quantity", "numeric")]
    with pytest.raises(DatabaseError, match="a_customer_has_an_id"), transaction(settings) as connection:
        connection.cursor().execute("insert into raw.landed_line values (1, 1, 1, 0, 2, '1', 'A', '', 1, now(), 1, '')")
