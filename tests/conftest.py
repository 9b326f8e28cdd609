"""Markers by folder, and real servers: Postgres and Redis for each test worker; a webhook, a mailbox, a browser."""

import email
import email.policy
import json
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hypothesis
import psutil
import psycopg2
import pytest
import redis
from aiosmtpd.controller import Controller
from psycopg2 import sql

from ncf_pipeline.settings import Settings

# As the stages have it, for processes that tests start too: two test workers whose threads spin while they wait
# take each other's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says something of the machine's load, and nothing of the code.
hypothesis.settings.register_profile("any load", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("any load")

TESTS = Path(__file__).parent
REAL_DATA = TESTS.parent.parent / "shared" / "data"
ROLE = TEMPLATE = "ncf"  # no superuser, as in production
TRAINED = {"model", "honest"}  # fixtures that train
SLOW = {"erasure", "experiments", "ingest", "live", "local", "quality", "serving", "training"}  # by their tests' sum
FAST = {"shared_buffers": "64MB", "max_connections": "60", "max_wal_size": "128MB"}
UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}  # a crash may lose it all
CHEAP_PASSWORDS = {"scram_iterations": "1"}  # tests connect thousands of times; from release 16 on
MEMORY = Path("/dev/shm")
ROOM = 6_000_000_000  # bytes of memory that have to be free: a worker takes 200 MB, with the real workbook 2 GB


def pytest_configure(config):
    """What a developer has set must not change a test, and no test finds the developer's servers."""
    for name in list(os.environ):
        if name in ("NCF_TEST_POSTGRES", "NCF_TEST_REDIS", "NCF_TEST_MLFLOW"):
            continue
        if name.startswith(("NCF_", "PG", "AIRFLOW_CONN_", "MLFLOW_")) or name == "REDISCLI_AUTH":
            del os.environ[name]
    os.environ["NCF_HOME"] = str(Path(tempfile.gettempdir()) / f"ncf-no-home-{uuid.uuid4().hex}")
    # Each of the many connections would first ask for two kinds of encryption that the tests' servers do not have.
    os.environ |= {"PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


def pytest_collection_modifyitems(items):
    for item in items:
        try:
            folder = item.path.relative_to(TESTS).parts[0]
        except ValueError:
            continue
        if folder in ("unit", "integration", "e2e"):
            item.add_marker(getattr(pytest.mark, folder))
        if folder == "e2e":
            item.add_marker(pytest.mark.airflow)
        if folder == "integration" and item.path.relative_to(TESTS).parts[1] in SLOW:
            item.add_marker(pytest.mark.slow)
        if "browser" in item.fixturenames:
            item.add_marker(pytest.mark.browser)
        if TRAINED.intersection(item.fixturenames):
            item.add_marker(pytest.mark.trains)


@pytest.fixture(scope="session")
def servers():
    """Addresses of a Postgres (as superuser) and a Redis of this worker's own, stopped at the end.

    `NCF_TEST_POSTGRES=/usr/lib/postgresql/15/bin` and `NCF_TEST_REDIS=/usr/bin/redis-server` take the programs of other
    releases than the embedded ones.
    """
    import ncf_pipeline.local.postgres
    import ncf_pipeline.local.redis
    from ncf_pipeline.local import ports
    from ncf_pipeline.local.postgres import SUPERUSER, database_url, start_postgres, stop_postgres
    from ncf_pipeline.local.redis import redis_url, start_redis, stop_redis

    folder = _folder_of_servers()
    started = []
    try:
        port = ports.free_port()
        parameters = {**FAST, **UNSAFE, **CHEAP_PASSWORDS}
        with pytest.MonkeyPatch.context() as patch:
            if "NCF_TEST_POSTGRES" in os.environ:
                parameters = {**FAST, **UNSAFE}
                programs = Path(os.environ["NCF_TEST_POSTGRES"])
                patch.setattr(ncf_pipeline.local.postgres, "_programs", lambda: programs)
                # Releases before 17 have no locales of their own; this one of the machine's sorts alike.
                patch.setattr(ncf_pipeline.local.postgres, "_LOCALE", ("--locale", "C.UTF-8"))
            postgres = start_postgres(
                folder / "postgres",
                port=port,
                password="test",
                log=folder / "postgres.log",
                parameters=parameters,
            )
        started.append((stop_postgres, postgres, _stopped_with_us(postgres.pid, folder)))
        server_url = database_url(port, role=SUPERUSER, password="test", database="postgres")
        port = ports.free_port()
        with pytest.MonkeyPatch.context() as patch:
            if "NCF_TEST_REDIS" in os.environ:
                program = Path(os.environ["NCF_TEST_REDIS"])
                patch.setattr(ncf_pipeline.local.redis, "server_program", lambda: program)
            store = start_redis(folder / "redis", port=port, password="test", log=folder / "redis.log", durable=False)
        started.append((stop_redis, store, _stopped_with_us(store.pid)))
        _make_template(server_url)
        yield server_url, redis_url(port, password="test")
    finally:
        for stop, server, guard in reversed(started):
            stop(server)
            guard.kill()
            guard.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _folder_of_servers():
    """Makes a folder in memory if there is room: a database is 600 files, and nearly each test makes and drops one.

    Not in pytest's own folder: the user that Postgres runs as could not pass through it.
    """
    room = MEMORY.is_dir() and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > ROOM
    return Path(tempfile.mkdtemp(prefix="ncf-test-", dir=MEMORY if room else None))


def _stopped_with_us(pid, folder=None):
    """Stops a server, and removes its folder, even when this process is killed: its end of the pipe closes then."""
    script = f"read _; kill -INT {pid}"
    if folder is not None:
        script += f"; sleep 5; rm -rf {shlex.quote(str(folder))}"
    return subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)


@pytest.fixture(scope="session")
def stopped_with_us():
    """Stops a server, by its pid, even when this process is killed."""
    return _stopped_with_us


def _make_template(server_url):
    from ncf_pipeline.local.postgres import ensure_database
    from ncf_pipeline.storage.migrations import migrate

    ensure_database(server_url, TEMPLATE, password="test")
    migrate(Settings(database_url=_database(server_url, TEMPLATE)))


def _database(server_url, name):
    address = server_url.rpartition("@")[2].rpartition("/")[0]
    return f"postgresql://{ROLE}:test@{address}/{name}"


def _execute(server_url, statement):
    connection = psycopg2.connect(server_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@pytest.fixture(scope="session")
def fresh_settings(servers):
    """Makes, in a folder, settings of their own: a fresh migrated database, an empty Redis and folders for files."""
    server_url, store_url = servers

    @contextmanager
    def make(folder):
        name = f"test_{uuid.uuid4().hex[:12]}"
        # Files as they are: the other strategy copies block by block, and without the cache of the catalogue.
        copy = sql.SQL("create database {} template {} owner {} strategy file_copy")
        _execute(server_url, copy.format(sql.Identifier(name), sql.Identifier(TEMPLATE), sql.Identifier(ROLE)))
        with redis.Redis.from_url(store_url) as client:
            client.flushall()
        home = folder / "home"
        home.mkdir()
        yield Settings(
            home=home,
            database_url=_database(server_url, name),
            redis_url=store_url,
            artifacts_url=(folder / "artifacts").as_uri(),
            inbox=folder / "inbox",
            inbox_settle_seconds=0,
            key_prefix=name,
        )
        _execute(server_url, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    return make


@pytest.fixture(autouse=True)
def _level_of_the_log():
    """A command that a test runs in this process may make the log quiet; the tests after it are to hear it."""
    log = logging.getLogger("ncf_pipeline")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture
def settings(fresh_settings, tmp_path):
    """Settings of a test's own."""
    with fresh_settings(tmp_path) as settings:
        yield settings


@pytest.fixture(scope="session")
def s3_server():
    """The address of an object store that speaks S3, and the environment in which clients find it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """The URL of an empty bucket."""
    import s3fs

    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # it remembers where its server was
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def real_data():
    """The folder of the real workbook (`Online Retail.xlsx`, `by-day/*.csv.gz`), which is not in the project."""
    if not (REAL_DATA / "Online Retail.xlsx").exists():
        pytest.skip(f"the real workbook is not at {REAL_DATA}")
    return REAL_DATA


@contextmanager
def _webhook():
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not server.broken:
                server.got.append(json.loads(body))
            self.send_response(500 if server.broken else 200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.broken = [], False
    server.url = f"json://127.0.0.1:{server.server_address[1]}/hooks/a-token-of-42"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def webhook():
    """A web server that keeps what it is sent: `url` for Apprise, `got` as dictionaries; `broken` makes it refuse."""
    with _webhook() as server:
        yield server


@pytest.fixture(scope="module")
def on_call():
    """The same for all tests of a module."""
    with _webhook() as server:
        yield server


@pytest.fixture
def mailbox():
    """A mail server that keeps what it is sent: `url` for Apprise, `got` as messages."""

    class Keep:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd calls it so
            controller.got.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            return "250 OK"

    controller = Controller(Keep(), hostname="127.0.0.1", port=0)
    controller.got = []
    # It asks its own port whether it has started, and is not told which it got.
    controller.port = _free_port()
    controller.start()
    controller.url = f"mailto://127.0.0.1:{controller.port}?to=oncall@shop.example&from=ncf@shop.example"
    yield controller
    controller.stop()


def _free_port():
    from ncf_pipeline.local import ports

    return ports.free_port()


@pytest.fixture
def today():
    """The day on which all of the test runs: one that would begin in the last minute of a day waits for the next."""
    now = datetime.now()
    if now.hour == 23 and now.minute == 59:
        time.sleep(60 - now.second)
    return date.today()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, gone before other modules' tests: its driver's event loop would be in the way of theirs."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync"]  # fmt: skip
        chromium = playwright.chromium.launch(executable_path=path, args=quiet)
        yield chromium
        chromium.close()
