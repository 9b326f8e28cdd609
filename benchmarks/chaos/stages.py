"""The stages as processes that can be killed, without waiting for imports each time.

One process imports everything, and forks a child for each command that it is told: so a kill hits the work, not the
imports, as it would in a worker of Airflow. `Launcher` starts it; `python -m chaos.stages` is it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CRASHED = 70
"""The exit code of a command that ended with a traceback, which no command should."""


@dataclass
class Running:
    """A command that was started."""

    log: Path
    pid: int = 0
    code: int | None = None
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def signal(self, number: int) -> bool:
        """Sends a signal; returns whether the command still ran."""
        if self.ended.is_set():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return not self.ended.is_set()

    def wait(self, patience: float) -> int | None:
        """Waits for its end; returns its exit code, negative if a signal ended it, and None if it still runs."""
        self.ended.wait(patience)
        return self.code

    def last_words(self) -> str:
        with suppress(OSError):
            lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            return lines[-1][:300] if lines else ""
        return ""


class Launcher:
    """Starts commands as processes of their own."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._logs = logs
        self._lock = threading.Lock()
        self._commands: dict[int, Running] = {}
        logs.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.stages"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(logs / "launcher.log").open("ab"),
            env=dict(environment),
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], name: str) -> Running:
        with self._lock:
            number = len(self._commands) + 1
            running = self._commands[number] = Running(self._logs / f"{number:04d}-{name}.log")
            order = {"id": number, "argv": list(arguments), "env": dict(environment), "log": str(running.log)}
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        if not running.begun.wait(120):
            raise RuntimeError(f"{name} was not started: see {self._logs / 'launcher.log'}")
        return running

    def stop(self) -> None:
        for running in self._commands.values():
            if running.pid and not running.ended.is_set():
                running.signal(signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            running = self._commands[event["id"]]
            if "pid" in event:
                running.pid, running.started = event["pid"], time.monotonic()
                running.begun.set()
            else:
                running.code, running.seconds = event["code"], time.monotonic() - running.started
                running.ended.set()


def _publish() -> None:
    """As the task `publish` of the DAG `retrain_recommender`, for the champion."""
    from ncf_pipeline.registry import versions as registry
    from ncf_pipeline.settings import load_settings
    from ncf_pipeline.training import retrain

    settings = load_settings()
    champion = registry.champion(settings)
    assert champion is not None
    print(f"p{retrain.publish(settings, champion.version):06d}")


def _run(order: dict[str, Any]) -> int:
    from ncf_pipeline import cli
    from ncf_pipeline.errors import NcfError

    os.setsid()
    with Path(os.devnull).open("rb") as nothing, Path(order["log"]).open("ab", buffering=0) as log:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    for name in [name for name in os.environ if name.startswith(("NCF_", "AWS_"))]:
        del os.environ[name]
    os.environ.update(order["env"])
    try:
        if order["argv"] == ["publish"]:
            _publish()
        else:
            sys.argv = ["ncf-pipeline", *order["argv"]]
            cli.main()
    except NcfError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return CRASHED
    return 0


def _say(**event: int) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _preload() -> None:
    """Imports what the stages need, and lets any model serve: what is tried here is what happens to it."""
    import importlib
    from dataclasses import replace
    from functools import partial

    for name in (
        "ncf_pipeline.training.retrain",  # before torch: it sets how torch's threads wait
        "great_expectations", "redis", "s3fs", "ncf_pipeline.cli", "ncf_pipeline.erasure.forget",
        "ncf_pipeline.ingest.stages", "ncf_pipeline.live.performance", "ncf_pipeline.serving.prune",
        "ncf_pipeline.serving.publish", "ncf_pipeline.serving.rollback", "ncf_pipeline.training.report",
    ):  # fmt: skip
        importlib.import_module(name)
    from ncf_pipeline.evaluation.gate import GateDecision
    from ncf_pipeline.model.recipe import Recipe
    from ncf_pipeline.training import decision, retrain

    tiny = partial(Recipe, max_epochs=2, min_steps=5, embedding_dim=8, hidden=(16, 8), max_instants=3,
                   popular_candidates=30, taste_candidates=10)  # fmt: skip
    vars(retrain)["Recipe"] = tiny
    honest = vars(decision)["decide"]

    def lenient(*arguments: Any, **named: Any) -> GateDecision:
        decided: GateDecision = honest(*arguments, **named)
        return replace(decided, promote=True)

    vars(decision)["decide"] = lenient


def _serve() -> None:
    _preload()
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    numbers: dict[int, int] = {}
    pending = b""
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            with suppress(BlockingIOError):
                os.read(wake, 1000)
            while numbers:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                _say(id=numbers.pop(pid), code=os.waitstatus_to_exitcode(status))
        if 0 in ready:
            got = os.read(0, 65536)
            if not got:
                return
            *lines, pending = (pending + got).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    code = _run(order)
                    with suppress(Exception):
                        sys.stdout.flush()
                        sys.stderr.flush()
                    os._exit(code)
                numbers[pid] = order["id"]
                _say(id=order["id"], pid=pid)


if __name__ == "__main__":
    _serve()
