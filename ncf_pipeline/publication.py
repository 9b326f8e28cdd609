"""Publications in Redis: one complete set of lists, written under its own number, then pointed at.

    ncf:current                          the live publication, e.g. p000042
    ncf:publications                     numbers by their state: `whole` once checked, `partial` before
    ncf:p000042:meta                     hash
    ncf:p000042:customer:14646           hash of JSON lists
    ncf:p000042:product:85123A           likewise
    ncf:p000042:fallback:United Kingdom  likewise

A reader sees the lists before or after a publication, never a mix: nothing under a live number is ever
written again, and `ncf:current` is set last. A publication that was killed half-way is whatever is
`partial` and not being written; the next one removes it. No command touches two keys, so that the keys
may be spread over the slots of a Redis Cluster.
"""

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import redis

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

_KEYS_AT_ONCE = 1000
_CHECKED_SAMPLE = 2000
_LOCK_SECONDS = 600

WHOLE = "whole"
PARTIAL = "partial"


@dataclass(frozen=True)
class Published:
    """What a publication consists of."""

    number: int
    keys: dict[str, int]
    seconds: float


def name_of(number: int) -> str:
    """How keys name a publication: p000042."""
    return f"p{number:06d}"


def publish(settings: Settings, lists: Iterable[pd.DataFrame], *, number: int, meta: Mapping[str, Any]) -> Published:
    """Writes all lists under a number, checks them by reading back, and makes them live.

    Args:
        settings: where, and how long keys live.
        lists: frames with the columns of `columns.Lists`; the rows of one key next to each other.
        number: of the publication; higher than any before.
        meta: fields of `ncf:pNNNNNN:meta`.

    Raises:
        ListStoreError: Redis refused, what was read back differs, or another publication is being
            written. The lists before still serve.
    """
    started = time.monotonic()
    prefix = f"{settings.key_prefix}:{name_of(number)}"
    seconds_to_live = settings.list_ttl_days * 86_400
    with _client(settings, f"publication {name_of(number)} was not written") as client, _alone(client, settings):
        client.hset(_register(settings), name_of(number), PARTIAL)
        counts: Counter[str] = Counter()
        sample: dict[str, dict[str, str]] = {}
        chooser = random.Random(number)  # noqa: S311 - which keys to check, nothing secret
        pipeline = client.pipeline(transaction=False)
        pending = 0
        for position, (audience, key, fields) in enumerate(_hashes(lists)):
            name = f"{prefix}:{audience}:{key}"
            pipeline.hset(name, mapping=cast("dict[Any, Any]", fields))
            pipeline.expire(name, seconds_to_live)
            counts[audience] += 1
            # Reservoir sampling: every key has the same chance, whatever their number.
            if len(sample) < _CHECKED_SAMPLE:
                sample[name] = fields
            elif (slot := chooser.randrange(position + 1)) < _CHECKED_SAMPLE:
                sample.pop(list(sample)[slot])
                sample[name] = fields
            pending += 1
            if pending == _KEYS_AT_ONCE:
                pipeline.execute()
                pending = 0
        pipeline.hset(f"{prefix}:meta", mapping={field: str(value) for field, value in meta.items()})
        pipeline.expire(f"{prefix}:meta", seconds_to_live)
        pipeline.execute()
        _check(client, sample, name_of(number))
        client.hset(_register(settings), name_of(number), WHOLE)
        _point_to(client, settings, number)
        _remove_old(client, settings, keep=number)
    return Published(number, dict(counts), time.monotonic() - started)


def live_publication(settings: Settings) -> dict[str, str] | None:
    """The live publication's meta with its `name`; None before the first."""
    with _client(settings, "the live publication cannot be told") as client:
        name = _text(client.get(_pointer(settings)))
        if name is None:
            return None
        return {"name": name, **_fields(client, f"{settings.key_prefix}:{name}:meta")}


def publications(settings: Settings) -> list[int]:
    """Numbers of the whole publications that Redis holds, newest first."""
    with _client(settings, "publications cannot be listed") as client:
        states = _fields(client, _register(settings))
    return sorted((_number(name) for name, state in states.items() if state == WHOLE), reverse=True)


def newest_number(settings: Settings) -> int:
    """The highest number that Redis knows, whole or not; 0 if none."""
    with _client(settings, "publications cannot be listed") as client:
        known = _fields(client, _register(settings))
        live = _text(client.get(_pointer(settings)))
    return max((_number(name) for name in [*known, *([live] if live else [])]), default=0)


def flip(settings: Settings, number: int) -> None:
    """Makes a publication live that Redis still holds.

    Raises:
        ListStoreError: it is not there, or not whole. What serves still serves.
    """
    name = name_of(number)
    with _client(settings, f"{name} was not made live") as client, _alone(client, settings):
        whole = client.hget(_register(settings), name) == WHOLE
        if not whole or not client.exists(f"{settings.key_prefix}:{name}:meta"):
            raise ListStoreError(f"{name} is not in Redis any more: publish its lists again. What serves still serves.")
        _point_to(client, settings, number)


def _hashes(lists: Iterable[pd.DataFrame]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """One (audience, key, fields) for each key, whatever the frames' borders."""
    current: tuple[str, str] | None = None
    fields: dict[str, str] = {}
    for frame in lists:
        columns = (frame[name] for name in Lists.ALL)
        for audience, key, list_name, stock_codes in zip(*columns, strict=True):
            if current != (audience, key):
                if current is not None:
                    yield *current, fields
                current, fields = (audience, key), {}
            fields[list_name] = json.dumps(list(stock_codes), separators=(",", ":"), ensure_ascii=False)
    if current is not None:
        yield *current, fields


def _check(client: redis.Redis, sample: Mapping[str, Mapping[str, str]], name: str) -> None:
    names = list(sample)
    for start in range(0, len(names), _KEYS_AT_ONCE):
        part = names[start : start + _KEYS_AT_ONCE]
        pipeline = client.pipeline(transaction=False)
        for key in part:
            pipeline.hgetall(key)
        for key, found in zip(part, pipeline.execute(), strict=True):
            if found != sample[key]:
                raise ListStoreError(f"{name} was not made live: {key} reads back otherwise. The lists before serve.")


def _point_to(client: redis.Redis, settings: Settings, number: int) -> None:
    client.set(_pointer(settings), name_of(number), ex=settings.list_ttl_days * 86_400)


def _remove_old(client: redis.Redis, settings: Settings, *, keep: int) -> None:
    """Removes all but the newest whole publications, and what was left half-written."""
    register = _register(settings)
    states = _fields(client, register)
    whole = sorted((_number(name) for name, state in states.items() if state == WHOLE), reverse=True)
    kept = {keep, *whole[: settings.keep_publications]}
    for name in states:
        if _number(name) in kept:
            continue
        # Partial first: a kill in the middle must not leave a `whole` one with holes.
        client.hset(register, name, PARTIAL)
        for keys in _scan(client, f"{settings.key_prefix}:{name}:*"):
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.unlink(key)
            pipeline.execute()
        client.hdel(register, name)


def _scan(client: redis.Redis, pattern: str) -> Iterator[list[str]]:
    found: list[str] = []
    for key in client.scan_iter(match=pattern, count=_KEYS_AT_ONCE):
        found.append(key)
        if len(found) >= _KEYS_AT_ONCE:
            yield found
            found = []
    if found:
        yield found


@contextmanager
def _client(settings: Settings, what_fails: str) -> Iterator[redis.Redis]:
    try:
        with redis.Redis.from_url(
            settings.list_store(), decode_responses=True, socket_connect_timeout=10, socket_timeout=60
        ) as client:
            yield client
    except redis.RedisError as error:
        raise ListStoreError(f"Redis: {what_fails}: {error}. The lists before still serve.") from error


@contextmanager
def _alone(client: redis.Redis, settings: Settings) -> Iterator[None]:
    """Two publishers at once wait for each other: the one with the higher number must win."""
    lock = client.lock(
        f"{settings.key_prefix}:publishing", timeout=_LOCK_SECONDS, blocking_timeout=_LOCK_SECONDS, thread_local=False
    )
    if not lock.acquire():
        raise ListStoreError("Another publication has been writing for too long. The lists before still serve.")
    try:
        yield
    finally:
        try:
            lock.release()
        except redis.exceptions.LockError:
            logger.warning("The publishing lock ran out before its holder was done.")


def _fields(client: redis.Redis, key: str) -> dict[str, str]:
    # The client decodes, which its types cannot know.
    return cast("dict[str, str]", client.hgetall(key))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _pointer(settings: Settings) -> str:
    return f"{settings.key_prefix}:current"


def _register(settings: Settings) -> str:
    return f"{settings.key_prefix}:publications"


def _number(name: str) -> int:
    return int(name.removeprefix("p"))
