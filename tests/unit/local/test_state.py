import os
import stat
import subprocess
import threading

import pytest

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.processes import ServerProcess, this_process
from ncf_pipeline.local.state import Services, User, locked, read_services, write_services
from ncf_pipeline.settings import SERVICES_FILE, load_settings


def services(tmp_path):
    return Services(
        processes={"redis": ServerProcess("Redis", 12, 3.25, tmp_path / "redis.log", 7)},
        kept=["redis"],
        users=[User(*this_process(), groups=("redis",))],
        ports={"redis": 6379},
        redis_url="redis://:secret@127.0.0.1:6379/0",
    )


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_services(tmp_path, services(tmp_path))
    assert read_services(tmp_path) == services(tmp_path)


def test_the_record_is_private_because_it_holds_passwords(tmp_path):
    write_services(tmp_path, services(tmp_path))
    assert stat.S_IMODE((tmp_path / SERVICES_FILE).stat().st_mode) == 0o600


def test_settings_take_their_addresses_from_the_record(tmp_path):
    write_services(tmp_path, services(tmp_path))
    assert load_settings(home=tmp_path).list_store() == "redis://:secret@127.0.0.1:6379/0"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"processes": 3}', '{"processes": {}, "users": [], "x": 1}'])
def test_a_damaged_record_is_ignored(tmp_path, text):
    (tmp_path / SERVICES_FILE).write_text(text)
    assert read_services(tmp_path) == Services()


def test_a_command_that_has_ended_is_removed_from_the_record(tmp_path):
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    record = services(tmp_path)
    record.users += [User(gone.pid, 1.0, ("redis",)), User(os.getpid(), 1.0, ("redis",))]
    write_services(tmp_path, record)
    assert read_services(tmp_path).users == services(tmp_path).users


def test_the_addresses_of_stopped_servers_are_removed(tmp_path):
    record = services(tmp_path)
    record.database_url = record.airflow_url = "somewhere"
    record.drop_addresses()
    assert (record.database_url, record.redis_url, record.airflow_url) == (None, services(tmp_path).redis_url, None)


def test_a_second_command_waits_for_the_first(tmp_path):
    order = []

    def second():
        with locked(tmp_path):
            order.append("second")

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_waiting_for_another_command_ends_after_the_patience(tmp_path):
    with locked(tmp_path), pytest.raises(ServiceError, match="Another command"), locked(tmp_path, patience=0.1):
        pass


def test_a_home_that_cannot_be_created_is_reported_in_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(ServiceError, match=r"file/home cannot be used: Not a directory. Set NCF_HOME")
    with refused, locked(tmp_path / "file" / "home"):
        pass
