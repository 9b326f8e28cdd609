"""A file behind a password or a signature is read, and neither stays anywhere."""

import logging

import pytest
from web_server import serving

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.storage.database import transaction

SECRET = "hunter2secret"
LINES = b"""InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,71053,LANTERN,6,2010-12-01 08:26:00,3.39,17850,France
"""


@pytest.fixture
def shop():
    """The address of a server that gives a file to whoever has the signature."""

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        status = 200 if f"sig={SECRET}".encode() in scope["query_string"] else 403
        body = LINES if status == 200 else b"no"
        headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/csv")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    with serving(app) as address:
        yield address


def everything_stored(settings):
    """Every value of every table, as text."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_schema in ('raw', 'retail', 'ml', 'ops') and table_type = 'BASE TABLE'"
        )
        tables = [name for (name,) in cursor.fetchall()]
        texts = []
        for name in tables:
            cursor.execute(f"select t::text from {name} as t")
            texts += [text for (text,) in cursor.fetchall()]
    return "\n".join(texts)


def test_a_signed_address_is_read_and_its_signature_is_not_stored(settings, shop, caplog):
    caplog.set_level(logging.INFO)
    batch = ingest.ingest(settings, [f"{shop}/day.csv?part=2&sig={SECRET}"]).batch_id
    stored = everything_stored(settings)
    assert "day.csv?part=2&sig=***" in stored
    assert SECRET not in stored
    assert SECRET not in str(batch_summary(settings, batch))
    assert SECRET not in "".join(record.getMessage() for record in caplog.records if "ncf_pipeline" in record.name)


@pytest.mark.parametrize("path", ["/day.csv?sig=wrong-hunter2secret", "/none.csv?token=hunter2secret&part=1"])
def test_a_signed_address_that_is_refused_is_told_and_stored_without_its_signature(settings, shop, path):
    with pytest.raises(InputError) as refused:
        ingest.ingest(settings, [f"{shop}{path}"])
    assert SECRET not in f"{refused.value!r}"
    assert SECRET not in everything_stored(settings)


def test_addresses_that_were_stored_with_secrets_lose_them_in_the_upgrade(settings):
    from ncf_pipeline.storage.migrations import migrations

    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into raw.batch (source, sha256) values (%s, 'x')", (f"a.csv?sig={SECRET}, b.csv",))
        cursor.execute(
            "insert into raw.batch_file (batch_id, file_number, name, location, sha256, bytes, lines_read) "
            "select batch_id, n, name, location, 'x', 1, 1 from raw.batch, "
            "(values (1, %(name)s, %(signed)s), (2, 'b.csv', %(login)s), (3, 'c.csv', '/inbox/c@d.csv')) "
            "as f (n, name, location)",
            {
                "name": f"a.csv?X-Amz-Signature={SECRET}&part=2",
                "signed": f"https://s/a.csv?X-Amz-Credential={SECRET}&part=2&X-Amz-Signature={SECRET}",
                "login": f"s3://KEY:{SECRET}/x@bucket/b.csv",
            },
        )
        (migration,) = [each for each in migrations() if each.name == "0032_addresses_without_secrets"]
        cursor.execute(migration.sql)
        cursor.execute("select name, location from raw.batch_file order by file_number")
        assert cursor.fetchall() == [
            ("a.csv?X-Amz-Signature=***&part=2", "https://s/a.csv?X-Amz-Credential=***&part=2&X-Amz-Signature=***"),
            ("b.csv", "s3://***@bucket/b.csv"),
            ("c.csv", "/inbox/c@d.csv"),
        ]
    assert SECRET not in everything_stored(settings)
