import json
import os
import signal
import stat
import time
from contextlib import contextmanager

import psutil
import pytest
import redis
from list_servers import LIST_SERVERS, list_server

import ncf_pipeline.local.redis
from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.processes import is_alive
from ncf_pipeline.local.redis import redis_url, start_redis, stop_redis


@contextmanager
def server(home, *, port=None, password="secret"):
    port = port or free_port()
    process = start_redis(home / "redis", port=port, password=password, log=home / "redis.log")
    try:
        with redis.Redis.from_url(redis_url(port, password=password), decode_responses=True) as client:
            yield process, client
    finally:
        stop_redis(process)


@pytest.mark.parametrize("name", ["", "with spaces and 'quotes\" $HOME", "long/" + "/".join(["x" * 60] * 4)])
def test_data_outlives_the_server_in_any_folder(folder, name):
    with server(folder / name) as (_, client):
        client.set("kept", "42")
    with server(folder / name) as (_, client):
        assert client.get("kept") == "42"


@pytest.mark.parametrize("old", [name for name in LIST_SERVERS if name != "valkey"])
def test_a_home_that_redis_has_written_opens_with_all_that_it_held(folder, old, monkeypatch):
    with monkeypatch.context() as patch:
        program = list_server(old)
        patch.setattr(ncf_pipeline.local.redis, "server_program", lambda: program)
        with server(folder) as (_, client):
            client.set("ncf:current", "p000001")
            client.hset("ncf:p000001:customer:1", "for_you", "x" * 500)
            client.bgrewriteaof()  # from here on the file has two parts, a compact one and what came after it
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.01)
            client.set("after", "42")
    for _ in range(2):
        with server(folder) as (_, client):
            assert client.info("server")["server_name"] == "valkey"
            assert client.mget("ncf:current", "after") == ["p000001", "42"]
            assert client.hget("ncf:p000001:customer:1", "for_you") == "x" * 500


@pytest.mark.parametrize("old", [name for name in LIST_SERVERS if name != "valkey"])
def test_a_server_of_an_older_version_that_is_not_on_record_is_replaced(folder, old, monkeypatch):
    with monkeypatch.context() as patch:
        program = list_server(old)
        patch.setattr(ncf_pipeline.local.redis, "server_program", lambda: program)
        stray = start_redis(folder / "redis", port=free_port(), password="secret", log=folder / "redis.log")
    try:
        with server(folder):
            assert not is_alive(stray)
    finally:
        stop_redis(stray)


def test_it_listens_only_on_loopback(folder, listening):
    port = free_port()
    with server(folder, port=port) as (process, _):
        assert listening(process.pid) == {("127.0.0.1", port)}


def test_customers_lists_are_packed(folder):
    lists = {name: json.dumps([f"{20_000 + number}" for number in range(10)]) for name in ("for_you", "discover")}
    with server(folder) as (_, client):
        client.hset("ncf:p000001:customer:1", mapping=lists)
        assert client.object("encoding", "ncf:p000001:customer:1") in ("ziplist", "listpack")


def test_nobody_gets_in_without_the_password_which_no_command_line_shows(folder):
    port = free_port()
    with server(folder, port=port) as (process, _):
        with pytest.raises(redis.AuthenticationError), redis.Redis(port=port) as stranger:
            stranger.get("kept")
        assert "secret" not in " ".join(psutil.Process(process.pid).cmdline())
    assert stat.S_IMODE((folder / "redis" / "redis.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "redis").stat().st_mode) == 0o700


def test_it_restarts_after_kill_9_with_data_written_a_second_before(folder):
    port = free_port()
    with server(folder, port=port) as (process, client):
        client.set("kept", "42")
        client.execute_command("CONFIG", "SET", "appendfsync", "always")
        client.set("kept too", "43")
        os.kill(process.pid, signal.SIGKILL)
        with server(folder, port=port) as (_, again):
            assert again.mget("kept", "kept too") == ["42", "43"]


def test_a_server_that_is_not_on_record_is_replaced(folder):
    with server(folder) as (stray, client):
        client.set("kept", "42")
        with server(folder) as (_, again):
            assert not is_alive(stray)
            assert again.get("kept") == "42"


def test_a_taken_port_is_reported_in_one_clear_line(folder):
    port = free_port()
    refused = pytest.raises(ServiceError, match=r"Redis did not start: .*Failed listening on port")
    with server(folder, port=port), refused:
        start_redis(folder / "other", port=port, password="secret", log=folder / "other.log")


def test_full_memory_refuses_a_write_instead_of_dropping_lists(folder):
    with server(folder) as (_, client):
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_zeros_that_a_full_disk_left_between_two_commands_are_cut_out(folder, caplog):
    with server(folder) as (_, client):
        client.hset("ncf:p000001:customer:1", "for_you", b"\0packed\0\r\n*1\r\n\0")
        client.bgrewriteaof()  # the file that follows is not opened to append, and so it can get a hole
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
        client.set("binary", b"\0\0*3\r\n\0")
        client.set("before", "1")
        client.set("after", "2")
    (written,) = (folder / "redis" / "appendonlydir").glob("*.incr.aof")
    whole = written.read_bytes()
    at = whole.index(b"*3\r\n$3\r\nSET\r\n$5\r\nafter")
    written.write_bytes(b"\0" * 7 + whole[:at] + b"\0" * 273 + whole[at:])
    with server(folder) as (_, client):
        assert client.mget("before", "after") == ["1", "2"]
        assert client.strlen("binary") == 7
    assert "had 280 zeros" in caplog.text
    assert written.read_bytes().startswith(whole)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", [b"*3\r\nno command\r\n", b"garbage", b"\0\0garbage"])
def test_a_file_with_any_other_damage_stays_as_it_is_and_the_server_says_so(folder, damage):
    with server(folder) as (_, client):
        client.set("before", "1")
    (written,) = (folder / "redis" / "appendonlydir").glob("*.incr.aof")
    damaged = written.read_bytes() + damage + b"*1\r\n$4\r\nPING\r\n" * 3
    written.write_bytes(damaged)
    with pytest.raises(ServiceError, match="append only file"), server(folder):
        pass
    assert written.read_bytes() == damaged
