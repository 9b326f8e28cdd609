"""Faults that may pass are told apart from wrong inputs, as real servers report them."""

import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg2
import pytest

from ncf_pipeline.errors import (
    ArtifactError,
    DatabaseError,
    DatabaseUnavailableError,
    InputError,
    PassingError,
    QualityError,
    SourceUnavailableError,
    StoreUnavailableError,
)
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.quality.suites import check_landed_batch, tomorrow
from ncf_pipeline.registry import artifacts
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage import files
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import new_file

CSV = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom
"""


@contextmanager
def answering(status, body=b""):
    """A web server that gives the same answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - http.server calls them so

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("state", "passes"),
    [
        *((state, True) for state in ("53100", "53200", "53300", "40001", "40P01", "57014", "57P01", "55P03", "08006")),
        *((state, False) for state in ("22P02", "23505", "42501", "42703", "P0001")),
    ],
)
def test_postgres_is_retried_for_its_own_faults_and_not_for_ours(settings, state, passes):
    with pytest.raises(DatabaseError) as raised, transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(f"do $$ begin raise exception 'no' using errcode = '{state}'; end $$")
    assert isinstance(raised.value, PassingError) == isinstance(raised.value, DatabaseUnavailableError) == passes
    assert "\n" not in str(raised.value)


def test_a_lost_connection_and_a_server_that_is_away_may_pass(settings):
    def lose():
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseUnavailableError, match="The step was rolled back"):
        lose()
    away = Settings(**{**settings.model_dump(), "database_url": "postgresql://ncf:test@127.0.0.1:1/ncf"})
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached"), transaction(away):
        pass


@contextmanager
def waiting_for(settings, table):
    """Locks a table, and ends the connection of whoever waits for it."""
    done = threading.Event()

    def end_them():
        with closing(psycopg2.connect(settings.database())) as watcher, watcher.cursor() as cursor:
            while not done.is_set():
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and wait_event_type = 'Lock'"
                )
                watcher.commit()
                time.sleep(0.02)

    with closing(psycopg2.connect(settings.database())) as holder, holder.cursor() as cursor:
        cursor.execute(f"lock table {table} in access exclusive mode")
        thread = threading.Thread(target=end_them)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def test_a_connection_that_is_lost_while_a_rule_is_checked_is_no_broken_rule(settings, tmp_path):
    (tmp_path / "day.csv").write_text(CSV)
    batch_id = ingest.land(settings, [str(tmp_path / "day.csv")])
    with (
        waiting_for(settings, "raw.landed_line"),
        pytest.raises(DatabaseUnavailableError, match="the rules could not be checked: ") as raised,
    ):
        check_landed_batch(settings.database(), batch_id, "invoices", tomorrow=tomorrow())
    assert not isinstance(raised.value, QualityError)
    assert "\n" not in str(raised.value)
    assert check_landed_batch(settings.database(), batch_id, "invoices", tomorrow=tomorrow()).worst is None


def test_a_database_that_is_away_or_empty_is_no_broken_rule(settings):
    away = "postgresql://ncf:test@127.0.0.1:1/ncf"
    with pytest.raises(DatabaseUnavailableError, match="the rules could not be checked"):
        check_landed_batch(away, 1, "invoices", tomorrow=tomorrow())
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("drop table raw.landed_line cascade")
    with pytest.raises(QualityError, match="could not be checked") as raised:
        check_landed_batch(settings.database(), 1, "invoices", tomorrow=tomorrow())
    assert "\n" not in str(raised.value)


@pytest.fixture
def impatient(bucket, monkeypatch):
    """A client of S3 that asks once."""
    import s3fs

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)

    def ask(url):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        s3fs.S3FileSystem.clear_instance_cache()
        return bucket

    return ask


SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.mark.parametrize(
    ("status", "body", "passes"), [(503, SLOW_DOWN, True), (503, b"", True), (500, b"", True), (403, DENIED, False)]
)
def test_a_503_of_the_object_store_may_pass_and_a_refusal_does_not(impatient, status, body, passes):
    def write(url):
        with new_file(f"{url}/file") as file:
            file.write(b"x")

    with answering(status, body) as server:
        url = impatient(server)
        for step in (write, artifacts.load_model, files.list_files, files.remove_file):
            with pytest.raises(ArtifactError) as raised:
                step(f"{url}/models/v000001")
            assert isinstance(raised.value, StoreUnavailableError) == passes, step
            assert "\n" not in str(raised.value)


def test_an_object_store_that_is_away_may_pass(impatient):
    with pytest.raises(StoreUnavailableError, match="cannot be read"):
        artifacts.load_model(f"{impatient('http://127.0.0.1:1')}/models/v000001")


def test_a_full_disk_may_pass_and_leaves_nothing(tmp_path, monkeypatch):
    class Same:
        hex = "0" * 32

    monkeypatch.setattr(files.uuid, "uuid4", lambda: Same)
    (tmp_path / "list.txt.00000000.tmp").symlink_to("/dev/full")

    def write():
        with new_file(f"file://{tmp_path}/list.txt") as file:
            file.write(b"x" * 100_000)

    with pytest.raises(StoreUnavailableError, match="No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a file").write_text("")
    with pytest.raises(ArtifactError) as raised, new_file(f"file://{tmp_path}/a file/list.txt"):
        pass
    assert not isinstance(raised.value, PassingError)


@pytest.mark.parametrize(("status", "passes"), [(503, True), (404, False), (403, False)])
def test_a_source_that_does_not_answer_refuses_no_file(settings, status, passes):
    settings.inbox_path.mkdir()
    day = settings.inbox_path / "day.csv"
    day.write_text(CSV)
    with answering(status) as server, pytest.raises(InputError) as raised:
        ingest.land(settings, [str(day), f"{server}/other.csv"] if passes else [f"{server}/other.csv"])
    assert isinstance(raised.value, SourceUnavailableError) == passes
    assert "\n" not in str(raised.value)
    assert day.exists()
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from raw.batch where status = 'merged' or status = 'landed'")
        assert cursor.fetchone() == (0,)


def test_a_disk_that_is_full_while_a_file_is_read_does_not_refuse_the_file(settings, monkeypatch):
    settings.inbox_path.mkdir()
    day = settings.inbox_path / "day.csv"
    day.write_text(CSV)
    read = Path.open

    def full(path, mode="r", *arguments, **named):
        return read(Path("/dev/full") if "w" in mode else path, mode, *arguments, **named)

    url = settings.inbox_path.parent / "elsewhere"
    url.mkdir()
    (url / "other.csv").write_text(CSV)
    monkeypatch.setenv("NCF_URL_SCHEMES", "local")
    monkeypatch.setattr(Path, "open", full)  # where a remote file is copied to
    with pytest.raises(SourceUnavailableError, match="No space left on device"):
        ingest.land(settings, [str(day), f"local://{url}/other.csv"])
    monkeypatch.undo()
    assert day.exists()
    assert ingest.ingest(settings, [str(day)]).merged == 1


ODD = [
    *(
        "foo://x/y",
        "gs://b/x",
        "hdfs://h/x",
        "reference://x",
        "jupyter://x",
        "dbfs://x",
        "dir://x",
        "zip://x",
        "data://x",
    ),
    *("http://[::1", "https://127.0.0.1:1/x", "ftp://127.0.0.1:1/x", "s3://", "s3:///x", "s3://b/x", "s3://a%20b/c"),
]


@pytest.mark.parametrize("url", ODD)
def test_a_url_that_cannot_be_used_is_an_error_of_one_line(url, monkeypatch, tmp_path):
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()

    def write(url):
        with new_file(url) as file:
            file.write(b"x")

    for step in (write, artifacts.load_model):
        with pytest.raises(ArtifactError) as raised:
            step(url)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError) as raised:
        ingest.discover(Settings(home=tmp_path), [url])
    assert "\n" not in str(raised.value)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_folder_of_a_user_who_does_not_exist_is_an_error_of_one_line(settings):
    with pytest.raises(InputError, match=r"~nobody-of-that-name/x.csv: this machine has no such user"):
        ingest.discover(settings, ["~nobody-of-that-name/x.csv"])
