"""Each fault: how it is caused, and how it ends."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg2

from chaos import schedule
from chaos.schedule import Fault
from chaos.stages import Running
from chaos.world import Shop, World, kill

_LEAST_SECONDS = 0.3
_LONGEST = 12.0  # seconds that a resource is withheld at most, so that the other lane moves on

Apply = Callable[[World, Shop, Running, Fault], bool]


def hit(world: World, shop: Shop, running: Running, fault: Fault) -> bool:
    """Causes a fault, waits for its end, and undoes it.

    Returns:
        Whether the command still ran when it began.
    """
    with world.calm:  # nothing is withheld while a try without faults runs that must succeed
        pass
    if fault.kind in schedule.BLOWS:
        world.blows.append(time.time())
    return _APPLY[fault.kind](world, shop, running, fault)


def _kill(_world: World, _shop: Shop, running: Running, _fault: Fault) -> bool:
    return running.signal(signal.SIGKILL)


def _stop(_world: World, _shop: Shop, running: Running, fault: Fault) -> bool:
    landed = running.signal(signal.SIGSTOP)
    time.sleep(fault.seconds if landed else 0)
    running.signal(signal.SIGCONT)
    return landed


def _postgres(world: World, _shop: Shop, running: Running, fault: Fault) -> bool:
    with world.resources["postgres"]:
        if running.ended.is_set():
            return False
        kill(world.postgres)
        time.sleep(min(fault.seconds, 2))
        world.ensure_postgres()
    return True


def _backend(world: World, shop: Shop, running: Running, _fault: Fault) -> bool:
    with world.resources["postgres"]:
        try:
            backends = world.backends(shop.settings.key_prefix)
        except psycopg2.Error:
            backends = []
        if running.ended.is_set() or not backends:
            return False
        with suppress(ProcessLookupError):
            os.kill(backends[0], signal.SIGKILL)
        time.sleep(_LEAST_SECONDS)
        world.ensure_postgres()
    return True


def _redis(world: World, _shop: Shop, running: Running, fault: Fault) -> bool:
    with world.resources["redis"]:
        if running.ended.is_set():
            return False
        kill(world.redis)
        time.sleep(min(fault.seconds, 2))
        world.ensure_redis()
    return True


def _memory(world: World, _shop: Shop, running: Running, fault: Fault) -> bool:
    with world.resources["redis"], world.client() as client:
        if running.ended.is_set():
            return False
        # Enough for the publication's first keys, and not for its last.
        room = int(fault.jump % 7) * 20_000
        client.config_set("maxmemory", client.info("memory")["used_memory"] + room)
        _until_the_end(running, fault)
        client.config_set("maxmemory", 0)
    return True


def _read_only(world: World, _shop: Shop, running: Running, fault: Fault) -> bool:
    with world.resources["redis"], world.client() as client:
        if running.ended.is_set():
            return False
        client.replicaof("127.0.0.1", 1)
        _until_the_end(running, fault)
        client.replicaof("NO", "ONE")
    return True


def _redis_clock(world: World, _shop: Shop, running: Running, fault: Fault) -> bool:
    if not world.redis_clock.environment:
        return False
    with world.resources["redis"]:
        if running.ended.is_set():
            return False
        # A day at most: further ahead, all lists would rightly expire, and shoppers would have none.
        world.redis_clock.jump(max(-86_400, min(fault.jump, 86_400)))
        _until_the_end(running, fault)
        world.redis_clock.jump(0)
    return True


def _clock(_world: World, shop: Shop, running: Running, fault: Fault) -> bool:
    if running.ended.is_set() or not shop.clock.environment:
        return False
    shop.clock.jump(fault.jump)
    _until_the_end(running, fault)
    shop.clock.jump(0)
    return True


def _files_full(world: World, _shop: Shop, running: Running, _fault: Fault) -> bool:
    return _full(world, "files", world.files / "ballast", running)


def _servers_full(world: World, _shop: Shop, running: Running, _fault: Fault) -> bool:
    landed = _full(world, "servers", world.servers / "ballast", running)
    world.ensure()  # Postgres ends if it cannot write what it did
    return landed


def _store(world: World, _shop: Shop, running: Running, fault: Fault) -> bool:
    with world.resources["store"]:
        if running.ended.is_set():
            return False
        world.busy_flag.touch()
        _until_the_end(running, fault)
        world.busy_flag.unlink()
    return True


def _full(world: World, resource: str, ballast: Path, running: Running) -> bool:
    if not world.may_mount:  # it must not be the disk of this machine
        return False
    with world.resources[resource]:
        if running.ended.is_set():
            return False
        _fill(ballast)
        deadline = time.monotonic() + _LONGEST
        try:
            while not running.ended.wait(0.2) and time.monotonic() < deadline:
                _fill(ballast)  # what others have removed meanwhile
        finally:
            ballast.unlink(missing_ok=True)
    return True


def _fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass


def _until_the_end(running: Running, fault: Fault) -> None:
    """Until the command has ended, or for the longest time that others wait."""
    running.wait(max(fault.seconds, _LONGEST))


_APPLY: dict[str, Apply] = {
    schedule.KILL: _kill,
    schedule.STOP: _stop,
    schedule.LONG_STOP: _stop,
    schedule.POSTGRES: _postgres,
    schedule.BACKEND: _backend,
    schedule.REDIS: _redis,
    schedule.MEMORY: _memory,
    schedule.READ_ONLY: _read_only,
    schedule.FILES_FULL: _files_full,
    schedule.SERVERS_FULL: _servers_full,
    schedule.STORE: _store,
    schedule.CLOCK: _clock,
    schedule.REDIS_CLOCK: _redis_clock,
}

CAUSED_BY_LANES = frozenset({schedule.TWICE})
"""What the lane itself does: it starts the stage a second time."""
