"""The list store: its keys, and the few steps that must be atomic.

No command here touches two keys, so the keys may be on different nodes of a Redis Cluster. Each atomic step (the change
of a state, the move of the pointer) is a script on one key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.connection import parse_url
from redis.exceptions import RedisClusterException

from ncf_pipeline.errors import ListStoreError, ListStoreUnavailableError, SettingsError
from ncf_pipeline.redaction import redacted
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.faults import may_pass

FAULTS = (redis.RedisError, RedisClusterException)
"""Errors that the client raises. Those of a cluster have a base class of their own."""

REMOVING = "removing"
_WRITING = "writing@"  # then the publisher's token
_WHOLE = "whole@"  # then milliseconds since 1970

# If the client repeats a script because the answer was lost, it gets the same answer.
_CHANGE_FIELD = """
local now = redis.call('hget', KEYS[1], ARGV[1]) or ''
if now == ARGV[3] then return 1 end
if now ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('hdel', KEYS[1], ARGV[1]) else redis.call('hset', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""
_CHANGE_VALUE = """
local now = redis.call('get', KEYS[1]) or ''
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'ex', ARGV[3])
return 1
"""
_COUNT_ABOVE = """
local number = math.max(tonumber(redis.call('get', KEYS[1]) or '0'), tonumber(ARGV[1]))
number = number + tonumber(ARGV[2])
redis.call('set', KEYS[1], number)
return number
"""
# The clock of the node that has the key: in a cluster, each node has its own.
_NOW = "return redis.call('time')"


@dataclass(frozen=True)
class Store:
    """A connection, and the names of the keys; `client` returns bytes."""

    client: redis.Redis  # or a cluster's client, which has the same commands
    prefix: str
    seconds_to_live: int
    keys_expire: bool  # each key by itself; else only the pointer and the meta, without which readers find no list
    customer_lists: tuple[str, ...]  # that are published

    @property
    def pointer(self) -> str:
        """The key that names the live publication."""
        return f"{self.prefix}:current"

    @property
    def register(self) -> str:
        """The key that holds the state of each publication."""
        return f"{self.prefix}:publications"

    def key(self, name: str, suffix: str) -> str:
        """A key of a publication, e.g. `ncf:p000042:meta`."""
        return f"{self.prefix}:{name}:{suffix}"


def name_of(number: int) -> str:
    """A publication's name in keys and logs.

    >>> name_of(42)
    'p000042'
    """
    return f"p{number:06d}"


def number_of(name: str) -> int:
    """The number in a publication's name.

    >>> number_of("p000042")
    42
    """
    return int(name.removeprefix("p"))


@contextmanager
def connected(settings: Settings, what_fails: str, *, so: str = "The previous lists stay live.") -> Iterator[Store]:
    """The list store; errors of the client become our own.

    Args:
        settings: where the list store is.
        what_fails: a main clause for the error message, e.g. "publications cannot be listed".
        so: the message's last sentence: what that means.

    Raises:
        SettingsError: the URL is not one of Redis.
        ListStoreError: Redis cannot be reached, or refused; a `ListStoreUnavailableError` if that may pass.
    """
    try:
        with _client(settings) as client:
            yield Store(
                client,
                settings.key_prefix,
                settings.list_ttl_days * 86_400,
                settings.keys_expire,
                settings.published_lists,
            )
    except FAULTS as error:
        kind = ListStoreUnavailableError if may_pass(error) else ListStoreError
        raise kind(f"Redis: {what_fails}: {_one_line(error)}. {so}") from error


def _client(settings: Settings) -> redis.Redis:
    url = settings.list_store()
    try:
        named = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise SettingsError(f"NCF_REDIS_URL: {_one_line(error)}.") from None  # its text may repeat a password
    if not settings.redis_cluster:
        return redis.Redis.from_url(url, socket_connect_timeout=10, socket_timeout=60)
    if "path" in named or named.get("db"):
        raise SettingsError(
            "NCF_REDIS_URL: a Redis Cluster has no socket file and only database 0. Name a node by host and port."
        )
    # Connects at once, to read which node has which keys.
    return cast("redis.Redis", redis.RedisCluster.from_url(url, socket_connect_timeout=10, socket_timeout=60))


def _one_line(error: Exception) -> str:
    text = redacted(str(error)).strip() or type(error).__name__
    # In front of it redis-py repeats the command, which may contain a whole list.
    reason = text.rpartition("caused error: ")[2].splitlines()[0].rstrip(".")
    return reason if len(reason) <= 200 else f"{reason[:200]}..."


def live_name(store: Store) -> str | None:
    """The live publication; None before the first one, or if it has expired."""
    return _text(store.client.get(store.pointer))


def states(store: Store) -> dict[str, str]:
    """The state of each publication, by name."""
    register: Any = store.client.hgetall(store.register)
    return {name.decode(): state.decode() for name, state in register.items()}


def writing(token: str) -> str:
    """The state of a publication that the owner of a token is writing."""
    return f"{_WRITING}{token}"


def is_writing(state: str | None) -> bool:
    """Whether a publisher writes it, or was killed while writing it."""
    return state is not None and state.startswith(_WRITING)


def whole(at: int) -> str:
    """The state of a publication that is written and checked; `at` is when it was last live, or finished."""
    return f"{_WHOLE}{at}"


def whole_since(state: str | None) -> int | None:
    """The instant in the state of a whole publication, in milliseconds since 1970; None for other states.

    >>> whole_since("whole@1700000000000"), whole_since("removing")
    (1700000000000, None)
    """
    return int(state.removeprefix(_WHOLE)) if state is not None and state.startswith(_WHOLE) else None


def change_state(store: Store, name: str, before: str | None, after: str | None) -> bool:
    """Changes a publication's state in one atomic step, if nobody else has changed it.

    Args:
        store: where the state is.
        name: of the publication.
        before: the state that it must have; None: no state.
        after: its new state; None removes it.

    Returns:
        Whether the state is now `after`.
    """
    changed: Any = store.client.eval(_CHANGE_FIELD, 1, store.register, name, before or "", after or "")
    return bool(changed)


def retire(store: Store, name: str) -> None:
    """Records that a publication stops being live at this instant."""
    state = states(store).get(name)
    if whole_since(state) is not None:
        change_state(store, name, state, whole(now(store)))


def now(store: Store) -> int:
    """Milliseconds since 1970 by the clock of the list store, which all publishers share."""
    clock: Any = store.client.eval(_NOW, 1, store.register)
    seconds, microseconds = map(int, clock)
    return seconds * 1000 + microseconds // 1000


def move_pointer(store: Store, before: str | None, after: str) -> bool:
    """Makes a publication live in one atomic step, if nobody else has moved the pointer.

    Args:
        store: where the pointer is.
        before: the publication that must be live; None: none.
        after: the one to make live.

    Returns:
        Whether `after` is now live.
    """
    moved: Any = store.client.eval(_CHANGE_VALUE, 1, store.pointer, before or "", after, str(store.seconds_to_live))
    return bool(moved)


def newest(store: Store) -> int:
    """The highest number that the list store knows; 0 if none."""
    live = live_name(store)
    counted = int(_text(store.client.get(_counter(store))) or 0)
    return max([counted, *map(number_of, states(store)), *([number_of(live)] if live else [])])


def next_number(store: Store) -> int:
    """A number above all others, which no other publisher gets."""
    number: Any = store.client.eval(_COUNT_ABOVE, 1, _counter(store), str(newest(store)), "1")
    return int(number)


def count_up_to(store: Store, number: int) -> None:
    """Makes `next_number` return a higher number than this one."""
    store.client.eval(_COUNT_ABOVE, 1, _counter(store), str(number), "0")


def _counter(store: Store) -> str:
    return f"{store.prefix}:number"


def _text(value: Any) -> str | None:
    return None if value is None else value.decode()
