"""From every older schema, in which customers were numbers, to the newest: the same ids, quantities and hashes."""

import hashlib
import hmac
import json
from decimal import Decimal

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extras import execute_values

from ncf_pipeline.ingest.corrections import quarantined_lines
from ncf_pipeline.ingest.stages import ingest, release
from ncf_pipeline.storage import migrations
from ncf_pipeline.storage.migrations import migrate

KEY = "the key of this shop's erasures"
OLDER = [migration for migration in migrations.migrations() if migration.name < "0021"]
ERASURES = 12  # the migration that they came with

# Two customers on one invoice: by number, 9999 is before 17850; by letters, after it.
LINES = [
    ("536365", 1, "71053", None, 6, "2010-12-01 08:26", "3.39", 9999, "United Kingdom"),
    ("536365", 2, "85123A", "HOLDER", 6, "2010-12-01 08:26", "2.55", 9999, "United Kingdom"),
    ("536365", 3, "85123A", "HOLDER", 6, "2010-12-01 08:26", "2.55", 17850, "United Kingdom"),
    ("536367", 1, "85123A", "HOLDER", 6, "2010-12-01 08:26", "2.55", None, "United Kingdom"),
    ("C536379", 1, "D", "DISCOUNT", -1, "2010-12-01 09:41", "27.5", 14527, None),
    ("536380", 1, "22961", "JAM", 24, "2010-12-01 09:45", "1.45", 17809, "United Kingdom"),
    ("536389", 1, "22941", "LIGHTS", 80995, "2010-12-01 10:03", "8.5", 9007199254740991, "Australia"),
]
ERASED = ("536370", 1, "22728", "ALARM", 24, "2010-12-01 08:45", "3.75", 12583, "France")
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"

# As every version before 0021 computed it, with customer_id bigint and quantity integer.
HASH = """
    update retail.invoice set sha256 = hashed.sha256 from (
        select invoice_no, encode(sha256(convert_to(string_agg(concat_ws(
            e'\\x1f', stock_code, coalesce(description, e'\\x1e'), quantity, extract(epoch from invoice_date),
            unit_price, coalesce(customer_id, 0), coalesce(country, e'\\x1e')
        ), e'\\x1d' order by line_number), 'UTF8')), 'hex') as sha256
        from retail.invoice_line group by invoice_no
    ) as hashed where invoice.invoice_no = hashed.invoice_no
"""
BROKEN = {
    "invoice_no": "536380", "stock_code": "22961", "description": "JAM", "quantity": "0",
    "invoice_date": "2010-12-01 09:45:00.000", "unit_price": "1.45", "customer_id": "17809",
    "country": "United Kingdom",
}  # fmt: skip
CORRECTED = BROKEN | {"quantity": 24, "unit_price": 1.45, "customer_id": 17809, "invoice_date": "2010-12-01T09:45:00"}
QUARANTINED = [
    # original, state, corrected: 17809 was released with 24 pieces; two lines wait, one with its customer as a number
    (BROKEN, "released", CORRECTED),
    (BROKEN | {"invoice_no": "536400", "customer_id": "13047"}, "waiting", None),
    (BROKEN | {"invoice_no": "536401", "quantity": 0, "customer_id": 13047}, "waiting", None),
    (BROKEN | {"invoice_no": "536402"}, "discarded", None),
]


def connect(settings):
    return psycopg2.connect(settings.database())


def read(settings, statement):
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall()
    connection.close()
    return rows


def fill(settings, level):
    """What a shop may have stored at that level."""
    erased = (*ERASED[:7], None, *ERASED[8:]) if level >= ERASURES else ERASED
    lines = [*LINES, erased]
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into raw.batch (source, sha256, status, lines_read, lines_merged, lines_quarantined, finished_at)"
            " values ('a day.csv', 'a', 'merged', 12, 8, 4, now());"
            "insert into raw.batch (source, sha256) values ('on its way.csv', 'b');"
            "insert into raw.batch_file (batch_id, file_number, name, location, sha256, bytes)"
            " values (1, 1, 'a day.csv', '/inbox/a day.csv', 'a', 99);"
            "insert into raw.landed_line (batch_id, line_number, file_number, sheet_number, row_number, invoice_no,"
            " quantity, customer_id) values (2, 1, 1, 0, 2, '536366', 6, 17850), (2, 2, 1, 0, 3, '536366', null, null)"
        )
        for invoice in {line[0] for line in lines}:
            count = sum(line[0] == invoice for line in lines)
            cursor.execute("insert into retail.invoice values (%s, %s, '', 1)", (invoice, count))
        execute_values(cursor, "insert into retail.invoice_line values %s", [(*line, 1) for line in lines],
                       template="(%s, %s, %s, %s, %s, %s::timestamp, %s::numeric, %s, %s, %s)")  # fmt: skip
        cursor.execute(HASH)
        for number, (original, state, corrected) in enumerate(QUARANTINED, 1):
            cursor.execute(
                "insert into raw.quarantined_line (batch_id, line_number, file_number, sheet_number, row_number,"
                " invoice_no, original, rule_ids, state, resolved_at, corrected)"
                " values (1, %s, 1, 0, %s, %s, %s, '{quantity_is_not_zero}', %s, %s, %s)",
                (number, number + 1, original["invoice_no"], json.dumps(original), state,
                 None if state == "waiting" else "2010-12-03", corrected and json.dumps(corrected)),
            )  # fmt: skip
        if level >= ERASURES:
            mark = hmac.new(KEY.encode(), b"customer:12583", hashlib.sha256).hexdigest()
            check = hmac.new(KEY.encode(), b"key check", hashlib.sha256).hexdigest()[:16]
            cursor.execute(
                "insert into retail.erasure (customer_hash, key_check, until, without_country, state, requested_by,"
                " finished_at) values (%s, %s, '2011-01-01', false, 'done', 'a person', now())",
                (mark, check),
            )
    connection.close()


def stored(settings):
    return read(
        settings,
        "select invoice_no, line_number, stock_code, quantity::text, unit_price::text, customer_id::text, country,"
        " batch_id, sha256 from retail.invoice_line join retail.invoice using (invoice_no, batch_id) order by 1, 2",
    )


def write(folder, lines):
    """The shop's old file, with the line that was broken and later corrected."""
    cells = [(line[0], *line[2:]) for line in lines]
    cells[5] = (*cells[5][:3], 0, *cells[5][4:])
    file = folder / "again.csv"
    rows = [",".join("" if cell is None else str(cell) for cell in row) for row in cells]
    file.write_text("\n".join([HEADER, *rows, ""]))
    return str(file)


@pytest.mark.parametrize("older", OLDER, ids=lambda migration: migration.name)
def test_what_was_stored_with_numbers_is_the_same_with_text(at_level, tmp_path, older):
    level = int(older.name[:4])
    settings = at_level(level).model_copy(update={"erasure_key": type(at_level(0).database_url)(KEY)})
    fill(settings, level)
    before = stored(settings)
    assert len(before) == 8

    migrate(settings)

    assert stored(settings) == before
    types = "select pg_typeof(customer_id)::text, pg_typeof(quantity)::text from {}"
    assert set(read(settings, types.format("retail.invoice_line"))) == {("text", "numeric")}
    landed = read(settings, "select customer_id, quantity, raw.cells_of(l) -> 'quantity' from raw.landed_line as l")
    assert landed == [("17850", Decimal(6), "6"), (None, None, None)]
    bought = read(settings, "select customer_id, quantity from retail.purchase_or_return where invoice_no = '536389'")
    assert bought == [("9007199254740991", Decimal(80995))]

    # What came with 0020 is empty on the lines of before.
    assert set(read(settings, "select unreadable, readable from raw.quarantined_line")) == {(None, None)}
    assert set(read(settings, "select replaced_invoices from raw.batch")) == {(None,)}
    first, second = quarantined_lines(settings)
    assert (first.original["customer_id"], second.original["customer_id"]) == ("13047", "13047")
    (released,) = quarantined_lines(settings, state="released")
    assert released.corrected["customer_id"] == "17809"
    assert [line.reasons for line in (first, second)] == [("A quantity is not 0.",)] * 2

    # The shop sends its old file again: the corrected line is read as it was corrected, and an erased customer stays
    # out.
    counts = ingest(settings, [write(tmp_path, [*LINES, ERASED])])
    assert (counts.read, counts.unchanged, counts.merged, counts.quarantined, counts.replaced) == (8, 8, 0, 0, 0)
    assert stored(settings) == before
    assert ("12583" in {row[5] for row in stored(settings)}) == (level < ERASURES)

    # A line that has waited since then can be released.
    assert release(settings, [second.quarantine_id], {"quantity": "6"}).merged == 1
    assert [(row[3], row[5]) for row in stored(settings) if row[0] == "536401"] == [("6", "13047")]


def test_who_could_read_the_view_still_can(at_level, servers):
    settings = at_level(len(OLDER))
    superuser = psycopg2.connect(servers[0])
    superuser.autocommit = True
    with superuser.cursor() as cursor:
        cursor.execute(sql.SQL('create role "a Reader"; create role granter'))
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute('grant select on retail.purchase_or_return to "a Reader"')
        cursor.execute("grant select, update on retail.purchase_or_return to granter with grant option")
    connection.close()
    comments = (
        "select obj_description('retail.purchase_or_return'::regclass),"
        " col_description('retail.purchase_or_return'::regclass, 3)"
    )
    before = read(settings, comments)
    migrate(settings)
    rights = "has_table_privilege('{}', 'retail.purchase_or_return', '{}')"
    wanted = [
        ("a Reader", "select", True),
        ("a Reader", "update", False),
        ("granter", "update with grant option", True),
    ]
    try:
        for role, right, has in wanted:
            assert read(settings, f"select {rights.format(role, right)}") == [(has,)], (role, right)
        # A later migration says more in them.
        assert all(before[0])
        assert all(read(settings, comments)[0])
    finally:
        with connect(settings) as connection, connection.cursor() as cursor:
            cursor.execute('revoke all on retail.purchase_or_return from "a Reader", granter')
        connection.close()
        with superuser.cursor() as cursor:
            cursor.execute('drop role "a Reader"; drop role granter')
        superuser.close()


@pytest.mark.parametrize("customer", ["", "0"])
def test_a_guest_has_no_id(settings, customer):
    line = ("1", 1, "A", None, 1, "2011-01-01", 1, customer, None, 1)
    refused = pytest.raises(psycopg2.errors.CheckViolation, match="a_customer_has_an_id")
    with connect(settings) as connection, connection.cursor() as cursor, refused:
        cursor.execute("insert into retail.invoice_line values %s", (line,))
