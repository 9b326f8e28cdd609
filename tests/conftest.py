"""What tests stand on: real servers, a fresh database for each test, and no settings of the developer."""

import os
import secrets
import tempfile
from pathlib import Path

import psycopg2
import pytest
import redis

TESTS = Path(__file__).parent
PROJECT = TESTS.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"


def pytest_collection_modifyitems(items):
    """The folder says what a test needs."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in {"unit", "integration", "e2e"}:
            item.add_marker(getattr(pytest.mark, folder))


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("NCF_", "AIRFLOW_CONN_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def servers():
    """Addresses of an embedded Postgres and Redis that run for the whole session, and a migrated template."""
    from ncf_pipeline.local import postgres, redis_server
    from ncf_pipeline.migrations import migrate
    from ncf_pipeline.settings import Settings

    with tempfile.TemporaryDirectory(prefix="ncf-tests-") as folder:
        home = Path(folder)
        try:
            postgres.start(home)
            redis_url = redis_server.start(home)
            _execute(postgres.url(home, "postgres"), "create database template_ncf")
            migrate(Settings(home=home, database_url=postgres.url(home, "template_ncf")))
            yield {"home": home, "redis_url": redis_url}
        finally:
            redis_server.shut_down(home)
            postgres.shut_down(home)


@pytest.fixture
def settings(servers, tmp_path):
    """Settings with a database of its own, migrated; an empty list store; folders under tmp_path."""
    from ncf_pipeline.local import postgres
    from ncf_pipeline.settings import Settings

    name = f"test_{secrets.token_hex(6)}"
    admin = postgres.url(servers["home"], "postgres")
    _execute(admin, f"create database {name} template template_ncf")
    with redis.Redis.from_url(servers["redis_url"]) as client:
        client.flushall()
    yield Settings(
        home=tmp_path / "home",
        database_url=postgres.url(servers["home"], name),
        redis_url=servers["redis_url"],
        artifacts_url=(tmp_path / "artifacts").as_uri(),
        inbox=tmp_path / "inbox",
    )
    _execute(admin, f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def real_data():
    """The folder of the real workbook and day files, which lies beside the project and never in it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real invoices are not at {SHARED_DATA}")
    return SHARED_DATA


def _execute(url, statement):
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
