import multiprocessing
import os
import pwd
import signal
import stat
import subprocess
import time
from contextlib import closing, contextmanager, suppress

import psutil
import psycopg2
import pytest

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local import postgres
from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.postgres import SUPERUSER, database_url, ensure_database, start_postgres, stop_postgres
from ncf_pipeline.local.processes import is_alive

SMALL = {"shared_buffers": "16MB", "max_connections": "20"}


@contextmanager
def server(home, *, port=None, password="secret"):
    port = port or free_port()
    process = start_postgres(
        home / "postgres", port=port, password=password, log=home / "logs" / "postgres.log", parameters=SMALL
    )
    try:
        yield process, database_url(port, role=SUPERUSER, password=password, database="postgres")
    finally:
        stop_postgres(process)


def ask(url, question):
    with closing(psycopg2.connect(url, connect_timeout=5)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchall() if cursor.description else None


def test_data_outlives_the_server(folder):
    with server(folder) as (_, url):
        ask(url, "create table kept as select 42 as answer")
    with server(folder) as (_, url):
        assert ask(url, "select answer from kept") == [(42,)]


@pytest.mark.parametrize("name", ["with spaces and 'quotes\" $HOME", "long/" + "/".join(["x" * 60] * 4)])
def test_the_home_may_have_any_name(folder, name):
    with server(folder / name) as (_, url):
        assert ask(url, "select 1") == [(1,)]


def test_a_relative_home_is_below_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with server(folder.relative_to(folder)) as (_, url):
        assert ask(url, "select 1") == [(1,)]
    assert (folder / "postgres" / "PG_VERSION").exists()


def test_it_listens_only_on_loopback(folder, listening):
    port = free_port()
    with server(folder, port=port) as (process, _):
        assert listening(process.pid) == {("127.0.0.1", port)}


def test_nobody_gets_in_without_the_password_and_nobody_reads_the_files(folder):
    with server(folder) as (_, url):
        for wrong in (url.replace(":secret@", "@"), url.replace("secret", "guess")):
            with pytest.raises(psycopg2.OperationalError, match="password"):
                psycopg2.connect(wrong, passfile="/dev/null")
        assert ask(url, "show password_encryption") == [("scram-sha-256",)]
    assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
    assert "secret" not in (folder / "logs" / "postgres.log").read_text()
    assert not [path for path in folder.iterdir() if "password" in path.name]


def test_root_does_not_run_it_as_root(folder):
    if os.geteuid() != 0:
        pytest.skip("only root changes the user")
    above = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)}
    with server(folder) as (process, _):
        assert psutil.Process(process.pid).uids().real != 0
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in above} == above  # no folder was opened for it


def test_text_sorts_by_code_point_on_every_machine(folder):
    with server(folder) as (_, url):
        assert ask(url, "select array_agg(c order by c) from unnest(array['a', 'B', 'ä', 'Z']) c") == [
            (["B", "Z", "a", "ä"],)
        ]
        assert ask(url, "select current_setting('timezone'), lower('Ä')") == [("UTC", "ä")]


def test_it_restarts_after_kill_9_with_all_committed_data(folder):
    port = free_port()
    with server(folder, port=port) as (process, url):
        ask(url, "create table kept as select 42 as answer")
        os.kill(process.pid, signal.SIGKILL)
        # At once, while its children may still run.
        with server(folder, port=port) as (_, again):
            assert ask(again, "select answer from kept") == [(42,)]


def test_a_pid_file_with_a_reused_pid_does_not_prevent_a_start(folder):
    with server(folder):
        pass
    account = pwd.getpwuid((folder / "postgres").stat().st_uid)
    as_server = {"user": account.pw_uid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/sleep", "60"], **as_server) as bystander:
        try:
            lines = [str(bystander.pid), str(folder / "postgres"), "1", "1", "", "127.0.0.1", "1 1", "ready"]
            (folder / "postgres" / "postmaster.pid").write_text("\n".join(lines))
            with server(folder) as (_, url):
                assert ask(url, "select 1") == [(1,)]
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_server_that_is_not_on_record_is_replaced(folder):
    with server(folder) as (stray, _), server(folder) as (_, url):
        assert not is_alive(stray)
        assert ask(url, "select 1") == [(1,)]


def test_a_taken_port_is_reported_in_one_clear_line_and_nothing_keeps_running(folder, listening):
    port = free_port()
    with server(folder, port=port):
        with pytest.raises(ServiceError, match=r"Postgres did not start: .*could not create any TCP/IP sockets"):
            start_postgres(folder / "other", port=port, password="x", log=folder / "other.log", parameters=SMALL)
        assert not (folder / "other" / "postmaster.pid").exists()


def test_an_interrupted_start_leaves_no_partial_folder(folder, monkeypatch):
    real_run = subprocess.run

    def killed(command, **options):
        real_run(command, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(postgres.subprocess, "run", killed)
    with pytest.raises(KeyboardInterrupt), server(folder):
        pass
    assert list(folder.iterdir()) == []
    monkeypatch.undo()
    with server(folder) as (_, url):
        assert ask(url, "select 1") == [(1,)]


@pytest.mark.parametrize("size", ["20m", "60m"], ids=["while made", "while started"])
def test_a_full_disk_is_reported_in_one_clear_line(folder, size):
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be made by root alone")
    try:
        if size == "60m":
            with server(folder):
                pass
            with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
                while filler.write(b"0" * 4096):
                    pass
        with pytest.raises(ServiceError, match="No space left on device"), server(folder):
            pass
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_database_and_its_owner_are_created_once_and_isolated(folder):
    with server(folder) as (_, url):
        for _ in range(2):
            ensure_database(url, "shop", password="one")
        ensure_database(url, "other", password="two")
        port = url.rpartition(":")[2].partition("/")[0]
        shop = database_url(int(port), role="shop", password="one", database="shop")
        ask(shop, "create table mine (id int)")
        assert ask(shop, "select rolsuper, rolcreatedb from pg_roles where rolname = 'shop'") == [(False, False)]
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            psycopg2.connect(database_url(int(port), role="shop", password="one", database="other"))
        ensure_database(url, "shop", password="new")
        assert ask(shop.replace("one", "new"), "select count(*) from mine") == [(0,)]


def test_a_lost_password_is_reported_in_one_clear_line(folder):
    with server(folder):
        pass
    refused = pytest.raises(ServiceError, match=r"no login shop: .*password authentication failed")
    with server(folder, password="another") as (_, url), refused:
        ensure_database(url, "shop", password="one")


def test_an_ordinary_user_can_run_it_too(folder):
    if os.geteuid() != 0:
        pytest.skip("every other test has shown it already")
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)

    def start_as_nobody():
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        with server(folder) as (process, url):
            assert ask(url, "select 1") == [(1,)]
            assert psutil.Process(process.pid).uids().real == nobody.pw_uid

    child = multiprocessing.get_context("fork").Process(target=start_as_nobody)
    child.start()
    child.join(timeout=60)
    assert child.exitcode == 0


def test_stopping_ends_open_transactions_at_once(folder):
    with server(folder) as (process, url), closing(psycopg2.connect(url)) as connection:
        connection.cursor().execute("create table half (id int)")
        before = time.monotonic()
        stop_postgres(process)
        assert time.monotonic() - before < 10
        assert not is_alive(process)


def _account_made_by(barrier, name, numbers):
    postgres._ACCOUNT = name
    barrier.wait()
    numbers.put(postgres._made_account().pw_uid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
def test_servers_that_start_at_the_same_time_create_one_user():
    name = f"ncf-test-{os.getpid()}"
    context = multiprocessing.get_context("fork")
    barrier, numbers = context.Barrier(6), context.Queue()
    makers = [context.Process(target=_account_made_by, args=(barrier, name, numbers)) for _ in range(6)]
    try:
        for maker in makers:
            maker.start()
        found = {numbers.get(timeout=60) for _ in makers}
        assert found == {pwd.getpwnam(name).pw_uid}
    finally:
        for maker in makers:
            maker.join()
        subprocess.run(["userdel", name], check=True)
