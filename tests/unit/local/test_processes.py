import dataclasses
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local import processes
from ncf_pipeline.local.processes import find_strays, is_alive, last_words, runs, spawn, stop, this_process, wait_until

ENVIRONMENT = {"PATH": os.defpath}


@pytest.fixture
def start(tmp_path):
    started = []

    def start(script, name="Server"):
        command = ["/bin/sh", "-c", script]
        started.append(spawn(name, command, log=tmp_path / "log", cwd=tmp_path, env=ENVIRONMENT))
        return started[-1]

    yield start
    for process in started:
        stop(process, patience=0)


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_is_alive_until_it_is_stopped(start):
    process = start("exec sleep 60")
    assert is_alive(process)
    stop(process)
    assert not is_alive(process)
    stop(process)  # again: nothing to do


def test_a_server_leads_its_own_session_so_that_ctrl_c_does_not_reach_it(start):
    process = start("exec sleep 60")
    assert os.getsid(process.pid) == process.pid


def test_a_server_that_was_killed_is_not_alive_even_as_a_zombie(start):
    process = start("exec sleep 60")
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not is_alive(process))


def test_a_reused_pid_is_not_the_server_and_its_process_is_left_alone(start):
    bystander = start("exec sleep 60")
    stale = dataclasses.replace(bystander, started=bystander.started - 100)
    assert not runs(stale.pid, stale.started)
    processes._children.pop(bystander.pid).returncode = 0  # as a later command sees it: not its child
    stop(stale)
    assert is_alive(bystander)


def test_a_server_that_ignores_the_signal_is_killed(start):
    process = start("trap '' TERM; echo deaf; while :; do sleep 0.05; done")
    until(lambda: "deaf" in process.log.read_text())
    before = time.monotonic()
    stop(process, patience=0.3)
    assert not is_alive(process)
    assert time.monotonic() - before < 5


def test_the_children_of_a_killed_server_are_stopped_too(start):
    process = start("sleep 61 & echo $!; wait")
    until(lambda: process.log.read_text().strip())
    child = psutil.Process(int(process.log.read_text()))
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not is_alive(process))
    assert child.is_running()
    stop(process)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_server_that_is_not_on_record_is_found_by_its_folder(tmp_path):
    program = tmp_path / "my-server"
    program.symlink_to(sys.executable)
    stray = subprocess.Popen(
        [program, "-c", "import time; print(1, flush=True); time.sleep(60)"],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    try:
        stray.stdout.readline()
        found = find_strays("Server", "my-server", cwd=tmp_path, log=tmp_path / "log")
        assert [process.pid for process in found] == [stray.pid]
        assert find_strays("Server", "my-server", cwd=tmp_path.parent, log=tmp_path / "log") == []
        assert find_strays("Server", "server", cwd=tmp_path, log=tmp_path / "log") == []
    finally:
        stray.kill()
        stray.wait()


def test_waiting_ends_at_once_with_the_reason_when_the_server_dies(start):
    process = start("echo 'FATAL: no room'; echo 'shut down'; exit 1")
    with pytest.raises(ServiceError, match=r"Server did not start: FATAL: no room \(log: .*/log\)"):
        wait_until(lambda: False, process, patience=60)


def test_waiting_ends_after_the_patience(start):
    process = start("echo thinking; exec sleep 60")
    until(process.log.read_text)
    with pytest.raises(ServiceError, match=r"Server is not ready after 0 s: thinking"):
        wait_until(lambda: False, process, patience=0.2)


def test_last_words_come_from_this_start_and_not_from_an_earlier_one(start):
    first = start("echo 'ERROR: long ago'")
    until(lambda: not is_alive(first))
    second = start("echo hello")
    until(lambda: not is_alive(second))
    assert last_words(second).startswith("hello")
    silent = start("exit 0")
    until(lambda: not is_alive(silent))
    assert last_words(silent).startswith("nothing was logged")


def test_a_log_is_private(start):
    assert start("exec sleep 60").log.stat().st_mode & 0o777 == 0o600


def test_a_missing_program_is_reported_in_one_clear_line(tmp_path):
    with pytest.raises(ServiceError, match=r"Server did not start: .*No such file.*nowhere"):
        spawn("Server", ["/nowhere"], log=tmp_path / "log", cwd=tmp_path, env={})


def test_this_process_is_told_apart_from_others():
    pid, started = this_process()
    assert pid == os.getpid()
    assert runs(pid, started)
    assert not runs(pid, started + 1)


def test_memory_includes_the_children_of_a_server(start):
    alone = start("exec sleep 60")
    hungry = start(
        f"{sys.executable} -c 'import time; held = b\"x\" * 50_000_000; print(1, flush=True); time.sleep(60)'; :"
    )
    until(hungry.log.read_text)
    assert processes.memory_mb([alone]) < 10
    assert 48 < processes.memory_mb([hungry]) < 90
    assert processes.memory_mb([]) == 0
