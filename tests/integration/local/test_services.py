import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local import services, serving
from ncf_pipeline.local.ports import PORTS_FILE, free_port
from ncf_pipeline.local.processes import is_alive
from ncf_pipeline.local.services import down, up
from ncf_pipeline.local.state import read_services
from ncf_pipeline.local.status import status
from ncf_pipeline.settings import SERVICES_FILE, Settings, load_settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.migrations import migrations


@pytest.fixture(scope="module")
def used_home():
    """A home in which servers have run, to be copied, because creating one is slow."""
    folder = Path(tempfile.mkdtemp(prefix="ncf-test-"))
    up(Settings(home=folder / "home"), airflow=False)
    down(Settings(home=folder / "home"))
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def new_home(folder):
    """A home in which nothing has run yet; its servers are stopped at the end."""
    path = folder / "a home"
    yield path
    down(Settings(home=path))
    assert servers_in(path) == []


@pytest.fixture
def home(new_home, used_home):
    """A home in which servers have run."""
    subprocess.run(["cp", "-a", used_home, new_home], check=True)
    (new_home / PORTS_FILE).unlink()
    return new_home


def servers_in(home):
    """Returns the servers that run in a home, on record or not."""
    names = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(home)):
                names.append(process.name())
        except (psutil.Error, OSError):
            continue
    return names


def pids(home):
    return {name: process.pid for name, process in read_services(home).processes.items() if is_alive(process)}


def migrated_to(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select max(name) from public.ncf_migration")
        return cursor.fetchone()[0]


def answers(settings):
    with redis.Redis.from_url(settings.list_store()) as client:
        return migrated_to(settings) == migrations()[-1].name and client.ping()


def test_up_and_down_can_be_repeated(new_home):
    home = new_home
    said = []
    settings = up(Settings(home=home), airflow=False, say=said.append)
    assert answers(settings)
    assert [line.split()[0] for line in said[:2]] == ["Postgres", "Redis"]
    before = pids(home)
    assert set(before) == {"postgres", "redis"}

    said.clear()
    again = up(load_settings(home=home), airflow=False, say=said.append)
    assert (pids(home), said) == (before, [])
    assert again.database() == settings.database()

    down(load_settings(home=home), say=said.append)
    assert said == ["Redis stopped", "Postgres stopped"]
    said.clear()
    down(load_settings(home=home), say=said.append)
    assert said == []
    assert load_settings(home=home).database_url is None


def test_data_and_addresses_survive_a_restart(home):
    first = up(Settings(home=home), airflow=False)
    with redis.Redis.from_url(first.list_store()) as client:
        client.set("ncf:current", "p000007")
    with transaction(first) as connection, connection.cursor() as cursor:
        cursor.execute("create table kept (id int)")
    down(Settings(home=home))
    second = up(Settings(home=home), airflow=False)
    assert (second.database(), second.list_store()) == (first.database(), first.list_store())
    assert status(second).live_publication == "p000007"
    with transaction(second) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from kept")
        assert cursor.fetchone() == (0,)


def test_the_shops_role_is_not_a_superuser(home):
    with (
        serving(Settings(home=home), list_store=False) as settings,
        transaction(settings) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("select current_user, rolsuper from pg_roles where rolname = current_user")
        assert cursor.fetchone() == ("ncf", False)


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_up_restarts_a_killed_server(home, name):
    before = up(Settings(home=home), airflow=False)
    server = psutil.Process(pids(home)[name])
    server.kill()
    server.wait(timeout=10)  # a busy machine needs time for this
    stale = load_settings(home=home)
    assert status(stale).died == (name,)
    again = up(stale, airflow=False)
    assert answers(again)
    assert (again.database(), again.list_store()) == (before.database(), before.list_store())
    assert status(again).died == ()


def test_a_reused_pid_in_the_record_is_not_a_server_and_its_process_is_left_alone(home):
    up(Settings(home=home), airflow=False)
    down(Settings(home=home))
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander:
        record = {"name": "Redis", "pid": bystander.pid, "started": 1.0, "log": "/dev/null", "log_start": 0}
        state = json.loads((home / SERVICES_FILE).read_text())
        (home / SERVICES_FILE).write_text(json.dumps({**state, "processes": {"redis": record}}))
        assert status(Settings(home=home)).died == ("redis",)
        assert answers(up(Settings(home=home), airflow=False))
        down(Settings(home=home))
        assert bystander.poll() is None
        bystander.kill()


def test_a_lost_record_does_not_lead_to_a_second_server_on_the_same_folder(home):
    up(Settings(home=home), airflow=False)
    lost = pids(home)
    (home / SERVICES_FILE).unlink()
    assert answers(up(Settings(home=home), airflow=False))
    assert not [pid for pid in lost.values() if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_a_server_moves_if_its_port_was_taken(home):
    up(Settings(home=home), airflow=False)
    down(Settings(home=home))
    ports = json.loads((home / PORTS_FILE).read_text())
    with subprocess.Popen(
        [sys.executable, "-c", f"import socket; s = socket.create_server(('127.0.0.1', {ports['redis']})); input()"],
        stdin=subprocess.PIPE,
    ) as squatter:
        time.sleep(0.5)
        settings = up(load_settings(home=home), airflow=False)
        assert answers(settings)
        assert f":{ports['redis']}/" not in settings.list_store()
        squatter.kill()


def test_two_ups_at_once_start_each_server_once(home):
    barrier = threading.Barrier(2)
    said = []

    def start():
        barrier.wait()
        return up(Settings(home=home), airflow=False, say=said.append).database()

    with ThreadPoolExecutor() as pool:
        first, second = (future.result() for future in [pool.submit(start), pool.submit(start)])
    assert first == second
    assert len([line for line in said if line.startswith("Postgres")]) == 1


def test_servers_run_for_the_length_of_a_block(home):
    with serving(Settings(home=home)) as settings:
        assert answers(settings)
    assert pids(home) == {}
    assert load_settings(home=home).redis_url is None


def test_only_needed_servers_are_started(home):
    with serving(Settings(home=home), database=False) as settings:
        assert set(pids(home)) == {"redis"}
        assert settings.database_url is None
    with serving(Settings(home=home), list_store=False):
        assert set(pids(home)) == {"postgres"}


def test_a_block_does_not_stop_servers_that_ran_before_it(home):
    up(Settings(home=home), airflow=False)
    before = pids(home)
    with serving(load_settings(home=home)) as settings:
        assert answers(settings)
    assert pids(home) == before


def test_a_block_starts_missing_servers_and_stops_only_those(home):
    with serving(Settings(home=home), database=False):
        with serving(load_settings(home=home)) as settings:
            assert answers(settings)
        assert set(pids(home)) == {"redis"}


def test_the_last_of_two_commands_stops_the_servers(home):
    first, second = serving(Settings(home=home)), serving(Settings(home=home))
    with ThreadPoolExecutor() as pool:  # first in, first out, unlike nested blocks
        pool.submit(first.__enter__).result()
        settings = pool.submit(second.__enter__).result()
        pool.submit(first.__exit__, None, None, None).result()
        assert answers(settings)
        pool.submit(second.__exit__, None, None, None).result()
    assert pids(home) == {}


def test_servers_stop_when_the_block_fails(home):
    with pytest.raises(RuntimeError), serving(Settings(home=home)):
        raise RuntimeError
    assert pids(home) == {}


def test_an_outdated_address_in_settings_is_replaced(home):
    with serving(Settings(home=home)) as settings:
        outdated = settings.database().rpartition(":")[0] + f":{free_port()}/ncf"
    with serving(Settings(home=home, database_url=outdated)) as settings:
        assert answers(settings)


def test_servers_named_in_the_settings_are_used_and_none_is_started(folder, settings):
    given = Settings(home=folder / "unused", database_url=settings.database_url, redis_url=settings.redis_url)
    with serving(given) as used:
        assert answers(used)
        assert used.database() == settings.database()
    assert not (folder / "unused").exists()


def test_a_failed_start_stops_only_the_servers_of_this_call(new_home):
    home = new_home
    with serving(Settings(home=home), database=False):
        (home / "postgres").write_text("in the way")
        with pytest.raises(ServiceError, match=r"Postgres cannot use .*postgres: .*Set NCF_HOME"):
            up(Settings(home=home), airflow=False)
        assert set(pids(home)) == {"redis"}
        (home / "postgres").unlink()
    (written,) = (home / "redis" / "appendonlydir").glob("*.incr.aof")
    written.write_text("*damaged*\r\n" * 9)
    with pytest.raises(ServiceError, match=r"Redis did not start: .*[Bb]ad file format"):
        up(Settings(home=home), airflow=False)
    assert pids(home) == {}
    assert read_services(home).kept == []


def test_a_taken_airflow_port_is_reported_in_one_clear_line_and_nothing_keeps_running(home):
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as squatter:
        port = int(squatter.stdout.readline())
        with pytest.raises(ServiceError, match=f"Port {port} is taken: set NCF_AIRFLOW_PORT"):
            up(Settings(home=home, airflow_port=port))
        squatter.kill()
    assert pids(home) == {}


def test_a_home_that_is_a_file_is_reported_in_one_clear_line(folder):
    (folder / "file").write_text("")
    with pytest.raises(ServiceError, match=r"cannot be used: File exists\. Set NCF_HOME"):
        up(Settings(home=folder / "file"), airflow=False)


COMMAND = """
import signal, sys, time
from pathlib import Path
from ncf_pipeline.local import serving
from ncf_pipeline.settings import Settings
signal.signal(signal.SIGINT, signal.default_int_handler)  # also if the tests run in the background
with serving(Settings(home=Path(sys.argv[1])), list_store=False):
    print("serving", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda how: how.name)
def test_a_command_that_is_interrupted_stops_its_servers(home, how):
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, home], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as command:
        assert command.stdout.readline() == b"serving\n"
        assert set(pids(home)) == {"postgres"}
        command.send_signal(how)
        command.send_signal(how)  # impatient
        assert command.wait(timeout=60) != 0
    assert pids(home) == {}


def test_servers_of_a_killed_command_are_stopped_by_the_next_one(home):
    with subprocess.Popen([sys.executable, "-c", COMMAND, home], stdout=subprocess.PIPE) as command:
        assert command.stdout.readline() == b"serving\n"
        command.kill()
    assert set(pids(home)) == {"postgres"}
    before = pids(home)
    with serving(load_settings(home=home)) as settings:
        assert answers(settings)
        assert pids(home)["postgres"] == before["postgres"]
    assert pids(home) == {}


def test_status_has_what_a_program_needs(home):
    nothing = status(Settings(home=home))
    assert nothing.running == {}
    assert (nothing.database_url, nothing.redis_url, nothing.airflow_url, nothing.live_publication) == (None,) * 4
    settings = up(Settings(home=home), airflow=False)
    state = json.loads(json.dumps(status(settings).as_dict()))
    assert state["database_url"] == settings.database()
    assert state["redis_url"] == settings.list_store()
    assert state["home"] == str(home)
    assert set(state["running"]) == {"postgres", "redis"}
    assert state["running"]["postgres"]["pid"] == pids(home)["postgres"]
    assert state["running"]["postgres"]["memory_mb"] > 0


def test_everything_that_holds_a_password_is_private(new_home):
    home = new_home
    up(Settings(home=home), airflow=False)
    private = [home / SERVICES_FILE, home / "redis" / "redis.conf", *(home / "secrets").iterdir()]
    assert len(private) == 5
    for path in private:
        assert path.stat().st_mode & 0o077 == 0, path
    assert services.kept_password(home, "redis") in (home / SERVICES_FILE).read_text()
