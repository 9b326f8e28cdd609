"""Which fault hits which stage, and when: drawn from a seed. Pure, so the same seed draws the same sequence.

Each lane (a shop's commands, or Airflow) draws its own sequence, so that it does not depend on how fast the others are.
Stages and faults are dealt from shuffled decks: before a stage meets a fault again, it has met all the others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

INGEST, RETRAIN, REFRESH, ROLLBACK, FORGET, PUBLISH = STAGES = (
    "ingest", "retrain", "refresh", "rollback", "forget", "publish",
)  # fmt: skip

KILL, STOP, LONG_STOP = "SIGKILL of the process", "SIGSTOP, then SIGCONT", "SIGSTOP for 40 s, then SIGCONT"
TWICE = "two at once"
POSTGRES, BACKEND, REDIS = "kill -9 of Postgres", "kill -9 of a connection's server", "kill -9 of Redis"
MEMORY, READ_ONLY = "Redis out of memory", "Redis read-only"
FILES_FULL, SERVERS_FULL = "full disk of files", "full disk of servers"
STORE = "store answers 503"
CLOCK, REDIS_CLOCK = "clock jumps", "clock of Redis jumps"
SCHEDULER, SCHEDULER_STOP = "SIGKILL of the scheduler", "SIGSTOP of the scheduler"
WORKER, TASK, TASK_STOP = "SIGKILL of the worker", "SIGKILL of the task", "SIGSTOP of the task"
EVERY_TRY = "SIGKILL of every try of a task"
METADATA, DAG_PROCESSOR = "kill -9 of Airflow's Postgres", "SIGKILL of the DAG processor"

OF_PROCESS = (KILL, STOP, TWICE, CLOCK)
OF_SERVERS = (POSTGRES, BACKEND, REDIS, MEMORY, READ_ONLY, SERVERS_FULL, REDIS_CLOCK)
OF_DISK, OF_CLOUD = (*OF_PROCESS, *OF_SERVERS, FILES_FULL), (*OF_PROCESS, *OF_SERVERS, STORE)
OF_AIRFLOW = (SCHEDULER, SCHEDULER_STOP, WORKER, TASK, TASK, TASK_STOP, DAG_PROCESSOR, METADATA)

BLOWS = frozenset({KILL, POSTGRES, BACKEND, SERVERS_FULL, WORKER, TASK, EVERY_TRY})
"""The faults that may come between a message to on-call and the record that it was sent."""

RED_EVERY = 4
"""In Airflow, the first of so many jobs has a task that is killed on every try, so that its run ends red."""

OFTEN = (*STAGES, *(stage for stage in STAGES if stage != RETRAIN))
"""The stages of a shop's commands, as often as they are drawn: a retrain takes as long as five of the others."""

PUBLISHERS = frozenset({RETRAIN, REFRESH, ROLLBACK, PUBLISH})
LONG_STOPS = 0.1  # share of a publisher's stops that are longer than its sign of life


@dataclass(frozen=True)
class Fault:
    """A fault that hits one try of a stage.

    Attributes:
        kind: a constant of this module.
        at: when it begins, as a share of the time that the stage usually takes.
        seconds: how long it lasts, if it lasts.
        jump: seconds that a clock jumps.
    """

    kind: str
    at: float
    seconds: float
    jump: int


@dataclass(frozen=True)
class Job:
    """A stage that is tried until it succeeds. Each fault hits one try; a try without any follows.

    Attributes:
        number: in its lane, from 1.
        stage: one of `STAGES`.
        pick: chooses the customer or the version, as a share of those that there are.
        faults: one for each try before the last.
    """

    number: int
    stage: str
    pick: float
    faults: tuple[Fault, ...]


def jobs(
    seed: int, lane: str, kinds: Sequence[str], *, stages: Sequence[str] = STAGES, most_tries: int = 3,
    red_every: int | None = None,
) -> Iterator[Job]:  # fmt: skip
    """The jobs of a lane, without an end.

    Args:
        seed: the same one draws the same jobs.
        lane: its name; each draws its own jobs.
        kinds: of the faults.
        stages: of the jobs.
        most_tries: with a fault, in one job.
        red_every: the first of so many jobs has a single fault, `EVERY_TRY`; None for no such job.
    """
    random = Random(f"{seed} {lane}")
    of_stages = _dealt(random, stages)
    of_kinds = {stage: _dealt(random, kinds) for stage in sorted(set(stages))}
    number = 0
    while True:
        number += 1
        stage = next(of_stages)
        faults = tuple(_fault(random, stage, next(of_kinds[stage])) for _ in range(random.randint(1, most_tries)))
        if red_every and number % red_every == 1:
            faults = (_fault(random, stage, EVERY_TRY),)
        yield Job(number, stage, random.random(), faults)


def _fault(random: Random, stage: str, kind: str) -> Fault:
    at, seconds = random.uniform(0.02, 0.95), random.uniform(0.3, 4.0)
    jump = random.choice((-1, 1)) * random.choice((60, 3600, 2 * 86_400, 400 * 86_400))
    if random.random() < LONG_STOPS and kind == STOP and stage in PUBLISHERS:
        return Fault(LONG_STOP, at, 40.0, jump)
    return Fault(kind, at, seconds, jump)


def _dealt(random: Random, cards: Sequence[str]) -> Iterator[str]:
    while True:
        deck = list(cards)
        random.shuffle(deck)
        yield from deck
