"""An erasure while the lock that keeps it out is lost, behind a pooler, or beside somebody who hangs."""

import logging
import os
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from pooler import pooled
from weekly_versions import TODAY, WEEK

from ncf_pipeline import privacy
from ncf_pipeline.erasure import forget as erasing
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import DatabaseUnavailableError, ErasedMeanwhileError, QualityError
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import snapshots as snapshots_of
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.serving import publish
from ncf_pipeline.serving.prune import prune
from ncf_pipeline.serving.publication import contents
from ncf_pipeline.storage import locks
from ncf_pipeline.storage.database import read_rows, transaction
from ncf_pipeline.training import retrain

WHO = "14601"
LOCKS = (
    "select pid from pg_locks where locktype = 'advisory' "
    "and database = (select oid from pg_database where datname = current_database())"
)


def lose_every_lock(settings):
    with closing(psycopg2.connect(settings.database())) as connection, connection.cursor() as cursor:
        cursor.execute(f"select pg_terminate_backend(pid) from ({LOCKS}) as holder")
        assert cursor.rowcount >= 1


def left(settings):
    return {place: count for place, count in erasing.search(settings, WHO).items() if count}


@pytest.fixture
def erased_at(shop, monkeypatch):
    """Lets a function lose its lock and meet an erasure, the first time that it is called."""

    def patch(module, name):
        run, done = getattr(module, name), []

        def overtaken(*arguments, **named):
            if not done:
                done.append(True)
                lose_every_lock(shop)
                forget(shop, WHO, requested_by="test")
            return run(*arguments, **named)

        monkeypatch.setattr(module, name, overtaken)
        return done

    return patch


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (publish, "_make_lists"),  # the purchases are read, and no list is made
        (publish, "_make_live"),  # the lists' file is written
        (contents, "write_meta"),  # all lists are in Redis
        (contents, "check"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_publisher_that_lost_its_lock_does_not_bring_an_erased_customer_back(
    shop, serve, live, erased_at, module, name
):
    serve("a")
    assert left(shop)
    done = erased_at(module, name)
    number = publish.refresh(shop)
    assert done
    assert live()[0] == f"p{number:06d}"
    assert left(shop) == {}


def test_lists_that_are_refused_do_not_stay_if_a_customer_was_erased_while_they_were_made(
    shop, serve, erased_at, monkeypatch
):
    serve("a")

    def refused(*arguments, **named):
        raise QualityError("A rule is broken.")

    monkeypatch.setattr(publish, "_check", refused)
    done = erased_at(publish, "_keep_lists")
    with pytest.raises(QualityError):
        publish.refresh(shop)
    assert done
    assert left(shop) == {}


def test_an_erasure_in_each_try_ends_with_an_error_that_is_retried(shop, serve, live, monkeypatch):
    serve("a")
    make, others = publish._make_lists, map(str, range(14602, 14640))

    def overtaken(*arguments, **named):
        lose_every_lock(shop)
        forget(shop, next(others), requested_by="test")
        return make(*arguments, **named)

    monkeypatch.setattr(publish, "_make_lists", overtaken)
    monkeypatch.setattr(publish, "MAX_TRIES", 2)
    with pytest.raises(ErasedMeanwhileError, match=r"What serves stays live\. Start again\."):
        publish.refresh(shop)
    assert live()[0] == "p000001"


def test_a_snapshot_that_was_read_before_an_erasure_is_not_recorded(shop, serve, erased_at):
    serve("a")
    erased_at(snapshots_of, "refuse_if_erased_since")  # all is read, and nothing is recorded
    before = read_rows(shop, "snapshots")
    with pytest.raises(ErasedMeanwhileError):
        take_snapshot(shop, TODAY - WEEK)
    assert len(read_rows(shop, "snapshots")) == len(before)
    assert left(shop) == {}


def test_a_snapshot_that_lost_its_lock_while_it_was_written_leaves_no_file(shop, serve, erased_at):
    serve("a")
    done = erased_at(snapshots_of, "write_content")
    before = read_rows(shop, "snapshots")
    with pytest.raises(DatabaseUnavailableError):
        take_snapshot(shop, TODAY - WEEK)
    assert done
    assert len(read_rows(shop, "snapshots")) == len(before)
    assert left(shop) == {}


def test_a_pruned_snapshot_that_lost_its_lock_while_it_was_written_again_leaves_no_file(shop, serve, erased_at):
    take_snapshot(shop, TODAY - WEEK)
    serve("a")
    assert prune(shop, now=datetime.now(UTC) + timedelta(days=8)).snapshots == 1
    done = erased_at(snapshots_of, "write_content")
    with pytest.raises(DatabaseUnavailableError):
        take_snapshot(shop, TODAY - WEEK)
    assert done
    assert left(shop) == {}


def test_a_model_whose_writer_lost_its_lock_is_written_without_the_customer(shop, serve, monkeypatch):
    version = serve("a")
    url = artifacts.version_url(shop.artifacts, version)
    known = KnownManifests(shop, version)
    model, save, done = artifacts.load_model(url, known=known), artifacts.save_model, []
    assert WHO in model.customers

    def overtaken(*arguments, **named):
        if not done:
            done.append(True)
            lose_every_lock(shop)
            forget(shop, WHO, requested_by="test")
        save(*arguments, **named)

    monkeypatch.setattr(artifacts, "save_model", overtaken)
    retrain._save(known, model, url, lineage={"version": version}, card="# Card", figures={})
    assert WHO not in artifacts.load_model(url, known=known).customers
    assert left(shop) == {}


def test_an_erasure_whose_lock_was_lost_says_so(shop):
    said = r"may have written meanwhile\. Run the command again"
    with pytest.raises(DatabaseUnavailableError, match=said), privacy.alone(shop):
        lose_every_lock(shop)


def test_whoever_waits_says_for_whom_and_does_not_wait_for_ever(shop, monkeypatch, caplog):
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.6)
    monkeypatch.setattr(locks, "TOLD_SECONDS", 0.1)
    caplog.set_level(logging.WARNING)
    me = rf"ncf-pipeline, process {os.getpid()} on .*\(Postgres' process \d+, since "
    waited = rf"Waited 0 minutes for {me}"
    with privacy.kept_out(shop), pytest.raises(DatabaseUnavailableError, match=waited), privacy.alone(shop):
        pass
    assert any(message.startswith("Waiting for ncf-pipeline, process") for message in caplog.messages)
    with privacy.alone(shop):
        with pytest.raises(DatabaseUnavailableError, match=me), privacy.kept_out(shop):
            pass
        with pytest.raises(DatabaseUnavailableError, match=me), transaction(shop) as connection:
            privacy.hold_off(connection)


@pytest.mark.timeout(120)
def test_publishing_and_erasing_work_behind_a_pooler_in_transaction_mode(shop, serve, monkeypatch):
    monkeypatch.setattr(locks, "WAIT_SECONDS", 5)
    serve("a")
    with pooled(shop.database()) as url:
        behind = shop.model_copy(update={"database_url": type(shop.database_url)(url)})
        waits = []
        with privacy.kept_out(behind):
            thread = threading.Thread(target=lambda: waits.append(forget(behind, WHO, requested_by="test")))
            thread.start()
            thread.join(1)
            assert thread.is_alive()  # the lock is held, whichever connection the erasure has
            assert registry.champion(behind) is not None
        thread.join()
        assert waits
        assert publish.refresh(behind) == 2
        forget(behind, "14602", requested_by="test")
    assert left(shop) == {}
    with closing(psycopg2.connect(shop.database())) as connection, connection.cursor() as cursor:
        cursor.execute(LOCKS)
        assert cursor.fetchall() == []
