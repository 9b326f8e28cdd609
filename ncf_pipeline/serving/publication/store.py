"""The list store: its keys, and the few steps that must happen at once.

No command touches two keys, so that the keys may be spread over the nodes of a Redis Cluster. What must be
decided and done at once (a state from one to the next, the pointer from one publication to the next) is
about one key, in a script.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.connection import parse_url
from redis.exceptions import RedisClusterException

from ncf_pipeline.errors import ListStoreError, SettingsError
from ncf_pipeline.settings import Settings

FAULTS = (redis.RedisError, RedisClusterException)
"""What the client raises; a cluster's has a family of its own."""

REMOVING = "removing"
_WRITING = "writing@"  # by whom
_WHOLE = "whole@"  # when that was last said

# Asked a second time, because the answer was lost on the way, each gives the same answer.
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
# By the clock of the node that has the key: of a cluster, each node has its own.
_NOW = "return redis.call('time')"


@dataclass(frozen=True)
class Store:
    """A connection with the names of the keys; `client` answers in bytes."""

    client: redis.Redis  # or a cluster's client, which takes the same commands
    prefix: str
    seconds_to_live: int

    @property
    def pointer(self) -> str:
        """The key that names the live publication."""
        return f"{self.prefix}:current"

    @property
    def register(self) -> str:
        """The key that holds what became of each publication."""
        return f"{self.prefix}:publications"

    def key(self, name: str, suffix: str) -> str:
        """A key of a publication, e.g. `ncf:p000042:meta`."""
        return f"{self.prefix}:{name}:{suffix}"


def name_of(number: int) -> str:
    """How keys name a publication: p000042."""
    return f"p{number:06d}"


def number_of(name: str) -> int:
    """The number in a publication's name."""
    return int(name.removeprefix("p"))


@contextmanager
def connected(settings: Settings, what_fails: str) -> Iterator[Store]:
    """The list store, with its errors in our words.

    Raises:
        SettingsError: the URL is none of a Redis.
        ListStoreError: Redis cannot be reached, or refused.
    """
    try:
        with _client(settings) as client:
            yield Store(client, settings.key_prefix, settings.list_ttl_days * 86_400)
    except FAULTS as error:
        raise ListStoreError(f"Redis: {what_fails}: {_one_line(error)}. The lists before still serve.") from error


def _client(settings: Settings) -> redis.Redis:
    url = settings.list_store()
    try:
        named = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise SettingsError(f"NCF_REDIS_URL: {_one_line(error)}.") from error
    if not settings.redis_cluster:
        return redis.Redis.from_url(url, socket_connect_timeout=10, socket_timeout=60)
    if "path" in named or named.get("db"):
        raise SettingsError("NCF_REDIS_URL: a cluster has no socket file, and no database but 0.")
    # Connects at once, to learn which node has which keys.
    return cast("redis.Redis", redis.RedisCluster.from_url(url, socket_connect_timeout=10, socket_timeout=60))


def _one_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    # Before it, redis-py repeats the command, which may hold a whole list.
    reason = text.rpartition("caused error: ")[2].splitlines()[0].rstrip(".")
    return reason if len(reason) <= 200 else f"{reason[:200]}..."


def live_name(store: Store) -> str | None:
    """The live publication; None before the first, or when all has expired."""
    return _text(store.client.get(store.pointer))


def states(store: Store) -> dict[str, str]:
    """What became of each publication, by name."""
    found: Any = store.client.hgetall(store.register)
    return {name.decode(): state.decode() for name, state in found.items()}


def writing(token: str) -> str:
    """The state of a publication that is being written by the holder of a token."""
    return f"{_WRITING}{token}"


def is_writing(state: str | None) -> bool:
    """Whether somebody writes it, or was killed while writing it."""
    return state is not None and state.startswith(_WRITING)


def whole(at: int) -> str:
    """The state of a publication that is written and checked, and not live from that instant on."""
    return f"{_WHOLE}{at}"


def whole_since(state: str | None) -> int | None:
    """When it was last said that a publication is whole, in milliseconds since 1970; None if it is not."""
    return int(state.removeprefix(_WHOLE)) if state is not None and state.startswith(_WHOLE) else None


def change_state(store: Store, name: str, before: str | None, after: str | None) -> bool:
    """Changes a publication's state if it is still what the caller believes; None is "not there"."""
    changed: Any = store.client.eval(_CHANGE_FIELD, 1, store.register, name, before or "", after or "")
    return bool(changed)


def retire(store: Store, name: str) -> None:
    """Notes that a publication is live until this instant and no longer."""
    state = states(store).get(name)
    if whole_since(state) is not None:
        change_state(store, name, state, whole(now(store)))


def now(store: Store) -> int:
    """Milliseconds since 1970 by the clock of the list store, which all publishers share."""
    told: Any = store.client.eval(_NOW, 1, store.register)
    seconds, microseconds = map(int, told)
    return seconds * 1000 + microseconds // 1000


def move_pointer(store: Store, before: str | None, after: str) -> bool:
    """Makes a publication live if the live one is still what the caller believes."""
    moved: Any = store.client.eval(_CHANGE_VALUE, 1, store.pointer, before or "", after, str(store.seconds_to_live))
    return bool(moved)


def newest(store: Store) -> int:
    """The highest number that the list store knows of; 0 if none."""
    live = live_name(store)
    counted = int(_text(store.client.get(_counter(store))) or 0)
    return max([counted, *map(number_of, states(store)), *([number_of(live)] if live else [])])


def next_number(store: Store) -> int:
    """A number that nobody else gets, above all others."""
    number: Any = store.client.eval(_COUNT_ABOVE, 1, _counter(store), str(newest(store)), "1")
    return int(number)


def count_up_to(store: Store, number: int) -> None:
    """Sees to it that `next_number` gives a higher one."""
    store.client.eval(_COUNT_ABOVE, 1, _counter(store), str(number), "0")


def _counter(store: Store) -> str:
    return f"{store.prefix}:number"


def _text(value: Any) -> str | None:
    return None if value is None else value.decode()
