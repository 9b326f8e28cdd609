"""Who runs the jobs of the schedule: one lane for each shop's commands."""

import json
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from chaos import schedule
from chaos.faults import hit
from chaos.readers import Readers
from chaos.schedule import FORGET, INGEST, PUBLISH, REFRESH, RETRAIN, ROLLBACK, Fault, Job
from chaos.stages import CRASHED, Running
from chaos.world import Shop, World
from ncf_pipeline.registry import versions as registry

PATIENCE = 240.0
"""Seconds after which a command that still runs is taken for one that hangs."""

_TRIES = 3  # without a fault of its own; the last one in calm
_FIRST_GUESS = 1.0  # seconds that a stage takes


@dataclass(frozen=True)
class Step:
    """A try of a stage.

    Attributes:
        lane: its name.
        job: the job's number.
        stage: of the job.
        fault: that hit it; None for a try without one.
        landed: whether the stage ran when the fault began.
        code: its exit code, negative for a signal; None if it hung.
        seconds: that it took.
        words: its last line.
        at: when it ended, as a time of the day.
    """

    lane: str
    job: int
    stage: str
    fault: Fault | None
    landed: bool
    code: int | None
    seconds: float
    words: str
    at: str = field(default_factory=lambda: time.strftime("%H:%M:%S"))


class Diary:
    """All steps, in memory and in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.steps: list[Step] = []
        self.gave_up: list[str] = []

    def write(self, step: Step) -> None:
        with self._lock:
            self.steps.append(step)
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(step)) + "\n")

    def give_up(self, what: str) -> None:
        with self._lock:
            self.gave_up.append(what)

    @property
    def landed(self) -> int:
        return sum(step.landed for step in self.steps)


class Lane(threading.Thread, ABC):
    """Runs a shop's jobs, one after another, until it is time to end."""

    def __init__(
        self, name: str, world: World, shop: Shop, diary: Diary, readers: Readers, jobs: Iterable[Job], until: float
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._world, self._shop, self._diary, self._readers = world, shop, diary, readers
        self._jobs, self._until = jobs, until
        self.done = 0
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            for job in self._jobs:
                if time.monotonic() > self._until or self._world.stopping:
                    return
                self.do(job)
        except BaseException as error:
            self.problem = error

    @abstractmethod
    def do(self, job: Job) -> None:
        """Does a job with its faults, then without one until it succeeds."""


class CommandLane(Lane):
    """Runs the jobs as commands, each in a process of its own."""

    def do(self, job: Job) -> None:
        """Does a job: a try for each fault, then tries without one until one succeeds."""
        arguments = self._arguments(job)
        if arguments is None:
            return
        for fault in job.faults:
            self._try(job, arguments, fault)
        for number in range(1, _TRIES + 1):
            if number < _TRIES:
                code = self._try(job, arguments, None)
            else:
                with self._world.calm:
                    self._wait_for_weather()
                    code = self._try(job, arguments, None)
            if code == 0:
                break
        else:
            self._diary.give_up(
                f"{self._shop.name}, job {job.number}: {job.stage} failed {_TRIES} times without a fault of its own: "
                f"{self._diary.steps[-1].words}"
            )
            return
        self.done += 1
        self._succeeded(job, arguments)

    def _succeeded(self, job: Job, arguments: list[str]) -> None:
        if job.stage == INGEST:
            self._shop.record(INGEST, arguments[-1])
        elif job.stage == FORGET:
            self._shop.record(FORGET, arguments[1])
            self._readers.tell_erased(self._shop.name, arguments[1])

    def _try(self, job: Job, arguments: list[str], fault: Fault | None) -> int | None:
        shop = self._shop
        for server in ("postgres", "redis"):  # a stage that cannot even begin is hit by nothing
            with self._world.resources[server]:
                pass
        running = shop.launcher.start(arguments, shop.environment, job.stage)
        landed = False
        second: Running | None = None
        if fault is not None:
            at = fault.at * shop.usual.get(job.stage, _FIRST_GUESS)
            if fault.kind == schedule.TWICE:
                running.wait(fault.at)  # so that both are at work, not one after the other
                landed = not running.ended.is_set()
                second = shop.launcher.start(arguments, shop.environment, f"{job.stage}-second")
            elif not running.ended.wait(at):
                landed = hit(self._world, shop, running, fault)
        codes = [self._ended(each) for each in (running, second) if each is not None]
        if fault is None and codes == [0]:
            before = shop.usual.get(job.stage, running.seconds)
            shop.usual[job.stage] = before + (running.seconds - before) / 3
        words = running.last_words() if codes[0] else ""
        if second is not None and second.code:
            words = f"{words} / {second.last_words()}"
        code = next((code for code in codes if code in (None, CRASHED)), codes[0])
        self._diary.write(Step(shop.name, job.number, job.stage, fault, landed, code, round(running.seconds, 2), words))
        return code

    def _ended(self, running: Running) -> int | None:
        code = running.wait(PATIENCE)
        if code is None:
            self._diary.give_up(f"{self._shop.name}: {running.log.name} hung for {PATIENCE:.0f} s, and was killed")
            running.signal(9)
            running.wait(10)
        return code

    def _wait_for_weather(self) -> None:
        """Until no fault is at work any more, and all servers run."""
        for resource in self._world.resources.values():
            with resource:
                pass
        self._world.ensure()

    def _arguments(self, job: Job) -> list[str] | None:
        """The command of a job; None if there is nothing to do it on."""
        if job.stage == INGEST:
            day = self._shop.next_day()
            return None if day is None else ["ingest", str(day)]
        if job.stage == FORGET:
            customer = self._customer(job.pick)
            return None if customer is None else ["forget", customer, "--yes"]
        if job.stage == RETRAIN:
            return ["retrain", "--seed", str(job.number)]
        if job.stage == REFRESH:
            return ["refresh"]
        versions = self._versions()
        if job.stage == ROLLBACK:
            return ["rollback", str(versions[math.floor(job.pick * len(versions))])] if versions else None
        assert job.stage == PUBLISH
        return self._publish(versions)

    def _publish(self, versions: list[int]) -> list[str] | None:
        """A model must be the champion, as after `register`."""
        models = [version for version in versions if version > 0]
        if not models:
            return None
        with self._world.calm:
            self._wait_for_weather()
            champion = registry.champion(self._shop.settings)
            if champion is None or champion.version not in models:
                self._shop.launcher.start(["rollback", str(models[0])], self._shop.environment, "make-champion").wait(
                    PATIENCE
                )
        return ["publish"]

    def _versions(self) -> list[int]:
        """The versions that have served, newest first."""
        with self._world.calm:
            self._wait_for_weather()
            published = {entry.version for entry in registry.publications(self._shop.settings)}
        return sorted(published, reverse=True)

    def _customer(self, pick: float) -> str | None:
        with self._world.calm:
            self._wait_for_weather()
            customers = read(
                self._shop,
                "select distinct customer_id from retail.invoice_line where customer_id is not null order by 1",
            )
        return str(customers[math.floor(pick * len(customers))][0]) if customers else None


def read(shop: Shop, statement: str) -> list[tuple[Any, ...]]:
    url = shop.settings.database()
    with closing(psycopg2.connect(url, connect_timeout=10)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def prepare(shop: Shop, first_days: int) -> None:
    """Loads a shop's first days, and trains and publishes its first model, undisturbed.

    Raises:
        RuntimeError: one of these commands failed.
    """
    first = [str(shop.days.pop(0)) for _ in range(first_days)]
    for arguments, name in ((["ingest", *first], INGEST), (["retrain"], RETRAIN), (["refresh"], REFRESH)):
        running = shop.launcher.start(arguments, shop.environment, f"first-{name}")
        if running.wait(PATIENCE) != 0:
            raise RuntimeError(f"{shop.name}: {name} failed without any fault: {running.last_words()}")
        if name != INGEST:  # a day is loaded faster than the first eighty
            shop.usual[name] = running.seconds
    for path in first:
        shop.record("first", path)
