import threading

import pytest

from ncf_pipeline.database import transaction
from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.migrations import migrate, migrations


def test_every_migration_is_applied_once_and_then_there_is_nothing_to_do(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select name from public.ncf_migration order by name")
        assert [name for (name,) in cursor.fetchall()] == [migration.name for migration in migrations()]
    assert migrate(settings) == []


def test_an_edited_migration_is_refused(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update public.ncf_migration set sha256 = 'other' where name like '0001%'")
    with pytest.raises(DatabaseError, match="0001.* was edited"):
        migrate(settings)


def test_a_database_of_a_newer_version_is_refused(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into public.ncf_migration (name, sha256) values ('9999_later', 'x')")
    with pytest.raises(DatabaseError, match="9999_later"):
        migrate(settings)


def test_two_appliers_at_once_wait_for_each_other(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("drop schema raw, retail, ml cascade")
        cursor.execute("drop table public.ncf_migration")
    applied, barrier = [], threading.Barrier(4)

    def apply():
        barrier.wait()
        applied.append(migrate(settings))

    threads = [threading.Thread(target=apply) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each migration was applied by exactly one of them.
    assert sorted(name for names in applied for name in names) == [migration.name for migration in migrations()]
