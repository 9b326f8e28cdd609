import json
import socket

import pytest

from ncf_pipeline.local.ports import LOOPBACK, PORTS_FILE, free_port, is_free, remembered_port


@pytest.fixture
def taken_port():
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_with_a_listener_is_not_free(taken_port):
    assert not is_free(taken_port)


def test_a_port_with_a_listener_on_all_addresses_is_not_free():
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        assert not is_free(server.getsockname()[1])


def test_a_free_port_is_below_the_range_of_outgoing_connections():
    port = free_port()
    assert 15_000 <= port < 30_000
    assert is_free(port)


def test_a_server_keeps_its_port_as_long_as_it_is_free(tmp_path):
    first = remembered_port(tmp_path, "redis")
    assert [remembered_port(tmp_path, "redis") for _ in range(3)] == [first] * 3
    assert remembered_port(tmp_path, "postgres") != first


def test_a_server_whose_port_was_taken_moves_and_stays_there(tmp_path, taken_port):
    (tmp_path / PORTS_FILE).write_text(json.dumps({"redis": taken_port}))
    moved = remembered_port(tmp_path, "redis")
    assert moved != taken_port
    assert remembered_port(tmp_path, "redis") == moved


def test_the_preferred_port_is_taken_only_when_free(tmp_path, taken_port):
    free = free_port()
    assert remembered_port(tmp_path, "airflow", preferred=free) == free
    assert remembered_port(tmp_path, "other", preferred=taken_port) != taken_port


def test_a_damaged_record_of_ports_is_ignored(tmp_path):
    (tmp_path / PORTS_FILE).write_text("{")
    assert is_free(remembered_port(tmp_path, "redis"))
