"""Migrations on a real Postgres."""

import threading

import pytest

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.storage import migrations
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.migrations import Migration, migrate


@pytest.fixture
def two_files(monkeypatch):
    """Adds two migrations, as if there were two more files."""
    files = [
        *migrations.migrations(),
        Migration("9001_shelf", "create table retail.shelf (id int)"),
        Migration("9002_fill", "insert into retail.shelf values (1)"),
    ]
    monkeypatch.setattr(migrations, "migrations", lambda: list(files))
    return files


def shelves(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select id from retail.shelf")
        return cursor.fetchall()


def test_a_database_with_the_newest_schema_needs_no_migration(settings):
    assert migrate(settings) == []


def test_every_file_is_applied_once_in_order(settings, two_files):
    assert migrate(settings) == ["9001_shelf", "9002_fill"]
    assert migrate(settings) == []
    assert shelves(settings) == [(1,)]


def test_two_appliers_at_once_share_the_work(settings, two_files):
    applied, failures = [], []
    start = threading.Barrier(4)

    def apply():
        start.wait()
        try:
            applied.extend(migrate(settings))
        except DatabaseError as error:
            failures.append(error)

    threads = [threading.Thread(target=apply) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(applied) == ["9001_shelf", "9002_fill"]
    assert shelves(settings) == [(1,)]


def test_a_migration_that_fails_is_rolled_back_and_the_earlier_ones_stay(settings, two_files):
    two_files[-1] = Migration("9002_fill", "insert into retail.shelf values (1); select 1 / 0")
    with pytest.raises(DatabaseError, match="division by zero"):
        migrate(settings)
    assert shelves(settings) == []
    two_files[-1] = Migration("9002_fill", "insert into retail.shelf values (2)")
    assert migrate(settings) == ["9002_fill"]


def test_a_migration_that_was_edited_after_it_was_applied_is_an_error(settings, two_files):
    migrate(settings)
    two_files[-1] = Migration("9002_fill", "insert into retail.shelf values (3)")
    with pytest.raises(DatabaseError, match="9002_fill was edited"):
        migrate(settings)


def test_a_database_of_a_newer_version_is_refused(settings, two_files):
    migrate(settings)
    del two_files[-1]
    with pytest.raises(DatabaseError, match="9002_fill, which this version does not know"):
        migrate(settings)


def test_names_are_numbered_without_gaps():
    numbers = [int(migration.name[:4]) for migration in migrations.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
