"""Has Redis write its files anew after an erasure: they still hold the lists that its memory no longer has."""

import time
from collections.abc import Callable
from typing import Any

import redis

from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.serving.publication.store import connected
from ncf_pipeline.settings import Settings

WAIT_SECONDS = 900
"""How long a server may take to write one file."""


def rewrite_files(settings: Settings) -> tuple[str, ...]:
    """Rewrites the append-only file and the snapshot of every node, and waits until that is done.

    Returns:
        What this user may not have written anew, and how somebody else does it, in words.

    Raises:
        ListStoreError: Redis cannot be reached, or could not write.
    """
    left: list[str] = []
    with connected(settings, "its files still hold the customer's lists") as store:
        for node in _nodes(store.client):
            try:
                about = node.info("persistence")
            except redis.ResponseError:  # without it, nobody can wait for the end
                left.append(
                    "the append-only file and the snapshot (RDB) of Redis, until they are written anew: this user may "
                    "not ask for INFO; an administrator does it with `redis-cli BGREWRITEAOF` and `redis-cli BGSAVE`"
                )
                continue
            if about.get("aof_enabled"):
                left += _written(node, "append-only file", "BGREWRITEAOF", _AOF_BUSY, "aof_last_bgrewrite_status")
            if _keeps_snapshots(node):
                left += _written(node, "snapshot (RDB)", "BGSAVE", _RDB_BUSY, "rdb_last_bgsave_status")
    return tuple(dict.fromkeys(left))


_AOF_BUSY = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
_RDB_BUSY = ("rdb_bgsave_in_progress",)


def _nodes(client: Any) -> list[Any]:
    if isinstance(client, redis.RedisCluster):
        return [client.get_redis_connection(node) for node in client.get_nodes()]  # type: ignore[no-untyped-call]
    return [client]


def _keeps_snapshots(node: Any) -> bool:
    try:
        return bool(node.config_get("save").get("save"))
    except redis.ResponseError:  # it may not be asked, so it may keep some
        return True


def _written(node: Any, what: str, command: str, busy: tuple[str, ...], status: str) -> list[str]:
    """Begins a file anew and waits for it; returns what to do if this user may not begin one."""
    # One that was begun before the erasure may hold the customer's lists.
    _wait(node, what, lambda about: not any(about.get(name) for name in busy))
    try:
        node.execute_command(command)
    except redis.ResponseError as error:
        if "in progress" in str(error):
            raise
        return [
            f"the {what} of Redis, until it is written anew: this user may not do that; an administrator does it with "
            f"`redis-cli {command}`"
        ]
    about = _wait(node, what, lambda about: not any(about.get(name) for name in busy))
    if about.get(status) != "ok":
        raise ListStoreError(
            f"Redis: the {what} was not written anew, so it still holds the customer's lists. Has its disk room? Run "
            "the erasure again."
        )
    return []


def _wait(node: Any, what: str, is_done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    started, pause = time.monotonic(), 0.02
    while not is_done(about := node.info("persistence")):
        if time.monotonic() - started > WAIT_SECONDS:
            raise ListStoreError(
                f"Redis: the {what} was not written anew within {WAIT_SECONDS // 60} minutes. Run the erasure again."
            )
        time.sleep(pause)
        pause = min(1.0, 2 * pause)
    return dict(about)
