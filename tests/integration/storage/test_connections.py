"""Connections that wait for the next page are as good as new ones."""

import os
import threading
import warnings

import psycopg2
import pytest

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.storage import connections
from ncf_pipeline.storage.connections import kept_connections
from ncf_pipeline.storage.database import transaction

SESSION = """
    set datestyle to 'SQL, DMY'; set statement_timeout to '1h'; set search_path to raw;
    create temporary table left_over (n integer); select pg_advisory_lock(7); prepare asked as select 1
"""


@pytest.fixture(autouse=True)
def none_waits():
    """Tests do not see each other's connections."""
    yield
    connections._waiting.forget()


def process(settings):
    """The number of the process of Postgres that answers a transaction."""
    with transaction(settings) as connection:
        return connection.info.backend_pid


def terminate(settings, number):
    with psycopg2.connect(settings.database()) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(%s, 5000)", (number,))
    connection.close()


def test_transactions_follow_each_other_on_one_connection_only_where_that_is_asked_for(settings):
    assert process(settings) != process(settings)
    with kept_connections():
        first = process(settings)
        assert process(settings) == first
    with kept_connections():
        assert process(settings) == first
    assert process(settings) != first


def test_a_transaction_inside_another_has_a_connection_of_its_own(settings):
    with kept_connections(), transaction(settings) as outer, transaction(settings) as inner:
        assert outer.info.backend_pid != inner.info.backend_pid


def test_nothing_of_a_session_is_left(settings):
    with kept_connections():
        with transaction(settings) as connection, connection.cursor() as cursor:
            first = connection.info.backend_pid
            cursor.execute(SESSION)
        with transaction(settings) as connection, connection.cursor() as cursor:
            assert connection.info.backend_pid == first
            cursor.execute(
                "select current_setting('datestyle'), current_setting('statement_timeout'),"
                " current_setting('search_path'), to_regclass('left_over'),"
                " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),"
                " (select count(*) from pg_prepared_statements), now()::timestamp"
            )
            *kept, at = cursor.fetchone()
            assert kept == ["ISO, MDY", "0", '"$user", public', None, 0, 0]
            assert at.year >= 2020
            assert not connection.autocommit


def test_after_a_failure_there_is_a_new_connection(settings):
    with kept_connections():
        first = process(settings)
        with pytest.raises(DatabaseError), transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute("select 1 / 0")
        assert process(settings) != first


def test_a_connection_that_died_while_it_waited_is_not_used(settings):
    with kept_connections():
        first = process(settings)
        terminate(settings, first)
        assert process(settings) != first


def test_one_that_waited_for_too_long_is_closed_and_so_is_one_too_many(settings, monkeypatch):
    monkeypatch.setattr(connections, "SECONDS", 0.0)
    with kept_connections():
        assert process(settings) != process(settings)
    monkeypatch.setattr(connections, "SECONDS", 60.0)
    with kept_connections():
        barrier = threading.Barrier(connections.MOST + 1)

        def hold():
            with kept_connections(), transaction(settings):
                barrier.wait()

        threads = [threading.Thread(target=hold) for _ in range(connections.MOST + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    [waiting] = connections._waiting._by_url.values()
    assert len(waiting) == connections.MOST
    monkeypatch.setattr(connections, "SECONDS", 0.0)
    connections._waiting.close_old()
    assert all(connection.closed for _, connection in waiting)


def test_a_forked_process_uses_none_of_its_parents_and_leaves_them_open(settings):
    with kept_connections():
        first = process(settings)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # the sweeping thread is not in it
            child = os.fork()
        if child == 0:
            try:
                os._exit(0 if process(settings) != first else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert process(settings) == first
