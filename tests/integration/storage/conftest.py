"""Versions of a network that learned nothing, week by week: see `tests/support/weekly_versions.py`."""

import uuid

import psycopg2
import pytest
from psycopg2 import sql
from weekly_versions import candidate, live, serve, shop, states, store  # noqa: F401

from ncf_pipeline.settings import Settings
from ncf_pipeline.storage import migrations


@pytest.fixture(autouse=True)
def _connections_wait():
    """Here none does: these tests are about connections, roles and faults, and copy databases that nobody uses."""


@pytest.fixture(scope="session")
def migrated_to(servers):
    """Makes an empty database with the schema of the first `count` migrations; returns its name.

    Each level is made once, from the one before it, and copied.
    """
    connection = psycopg2.connect(servers[0])
    connection.autocommit = True
    known, levels, made = migrations.migrations(), ["template1"], []

    def copy(template):
        name = f"level_{uuid.uuid4().hex[:12]}"
        with connection.cursor() as cursor:
            statement = sql.SQL("create database {} template {} owner ncf")
            cursor.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        made.append(name)
        return name

    def make(count):
        while len(levels) <= count:
            name = copy(levels[-1])
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(migrations, "migrations", lambda: known[: len(levels)])
                migrations.migrate(Settings(database_url=database_url(servers, name)))
            levels.append(name)
        return copy(levels[count])

    yield make
    with connection.cursor() as cursor:
        for name in made:
            cursor.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
    connection.close()


@pytest.fixture
def at_level(servers, settings, migrated_to):
    """Settings of a database of its own, with the schema of the first `count` migrations."""
    return lambda count: Settings(
        **{**settings.model_dump(), "database_url": database_url(servers, migrated_to(count))}
    )


def database_url(servers, name):
    return f"postgresql://ncf:test@{servers[0].rpartition('@')[2].rpartition('/')[0]}/{name}"
