"""The keys of one publication, a thousand at a time: written, read back, kept alive, removed.

Each thousand is entered in the publication's index before it is written. So everything that a killed publisher left
can be found without scanning Redis, which may hold much more than lists.

Keys that hold the same as in the publication before are copied inside Redis: after a day on which few customers bought,
that is most of them.
"""

import json
import logging
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import redis
from redis.client import Pipeline

from ncf_pipeline.columns import EVERYWHERE, Lists
from ncf_pipeline.errors import InputError, ListStoreUnavailableError
from ncf_pipeline.serving.publication.keys import (
    DIGEST,
    NAMES,
    NOT_ALLOWED,
    SUFFIX,
    TEXTS,
    AnyLists,
    Digests,
    chunks,
    digests_of,
    keys_of,
)
from ncf_pipeline.serving.publication.store import Store
from ncf_pipeline.threads import prefetched

logger = logging.getLogger(__name__)

KEYS_AT_ONCE = 1000
COPIED_AT_ONCE = 200
"""Keys that a script copies or counts: Redis answers nobody else meanwhile, for about a millisecond."""

COMPARED_CHUNKS = 50
"""Chunks that are compared byte by byte after writing: a random sample, or all if there are no more."""

LOOKED_FOR_CHUNKS = 20
"""Chunks whose keys must exist before a publication is live again: a random sample, or all if there are no more."""

_LATER = 86_400  # seconds by which the index outlives the keys that it lists

# Copies each key under the one after it, and returns how many fields each copy has: none if there was nothing to copy.
_COPY = """
local fields = {}
for place = 1, #KEYS, 2 do
    local copy = KEYS[place + 1]
    redis.call('copy', KEYS[place], copy)
    if ARGV[1] == '' then redis.call('persist', copy) else redis.call('expire', copy, ARGV[1]) end
    local count = redis.pcall('hlen', copy)
    fields[#fields + 1] = type(count) == 'number' and count or 0
end
return fields
"""
_COUNT_FIELDS = """
local fields = {}
for place, key in ipairs(KEYS) do fields[place] = redis.call('hlen', key) end
return fields
"""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass
class Contents:
    """What was written, to compare with what is read back.

    Attributes:
        keys: number of keys by audience.
        fields: for each chunk, the number of fields in all its keys.
        digests: for each chunk, a digest of each key with its fields.
        copied: how many keys were copied from the publication before.
    """

    keys: Counter[str] = field(default_factory=Counter)
    fields: list[int] = field(default_factory=list)
    digests: list[Digests] = field(default_factory=list)
    copied: int = 0


@dataclass(frozen=True)
class Earlier:
    """A publication that the list store holds, from which keys are copied that would be the same.

    Attributes:
        name: of the publication.
        digests: of its keys with their fields, ascending.
    """

    name: str
    digests: Digests

    def has(self, digests: Digests) -> npt.NDArray[np.bool_]:
        """Which of these keys it has, with the same fields."""
        place = np.searchsorted(self.digests, digests)
        there = place < len(self.digests)
        there[there] = self.digests[place[there]] == digests[there]
        return there


def earlier(store: Store, name: str, lists: Iterable[AnyLists]) -> Earlier | None:
    """What can be copied from a publication; None if the list store does not copy keys.

    Args:
        store: which holds it.
        name: of the publication.
        lists: that it was written from, as for `write`.

    Raises:
        InputError: the lists cannot be a publication.
    """
    if isinstance(store.client, redis.RedisCluster):  # the copy may belong to another node
        return None
    try:
        store.client.eval(_COPY, 2, store.key(name, "nothing"), store.key(name, "copy"), _time_to_live(store))
    except redis.ResponseError as error:
        logger.info("All keys are written, as Redis does not copy them: %s", error)
        return None
    digests = [keys[DIGEST].to_numpy() for keys in keys_of(lists, store.customer_lists)]
    return Earlier(name, np.sort(np.concatenate(digests)) if digests else np.zeros(0, np.uint64))


def write(
    store: Store, name: str, lists: Iterable[AnyLists], before_each: Callable[[], None], before: Earlier | None = None
) -> Contents:
    """Writes all lists under a publication's name.

    Args:
        store: where to write.
        name: of the publication.
        lists: batches of Arrow, or frames, with the columns of `columns.Lists`, with or without the optional ones; the
            rows of one key are next to each other.
        before_each: called before each chunk is written; it raises to stop.
        before: from which keys are copied if they would be the same; None writes all.

    Returns:
        Counts and digests, for `check`.

    Raises:
        InputError: the lists cannot be a publication.
    """
    contents = Contents()
    found, has_everywhere, is_proven = list[Digests](), False, False
    with ThreadPoolExecutor(1) as writer:  # Redis stores a chunk while the next one is made
        sent: Future[int] = writer.submit(int)
        for number, chunk in enumerate(prefetched(chunks(keys_of(lists, store.customer_lists), KEYS_AT_ONCE))):
            before_each()
            _write_index(store, name, number, chunk[SUFFIX].to_list())
            if store.keys_expire:
                store.client.expire(store.key(name, "index"), store.seconds_to_live + _LATER)
            digests = chunk[DIGEST].to_numpy()
            is_same = before.has(digests) if before is not None else np.zeros(len(chunk), bool)
            if before is not None and not is_proven and is_same.any():
                is_proven = _is_held(store, before.name, chunk.filter(is_same))
                if not is_proven:
                    logger.info("All keys are written: %s does not hold what it was made from.", before.name)
                    before, is_same = None, np.zeros_like(is_same)
            queued = _queued(store, name, chunk.filter(~is_same))
            contents.copied += sent.result()
            same = chunk.filter(is_same)
            sent = writer.submit(_store, store, name, queued, same, before)
            found.append(chunk[SUFFIX].hash().to_numpy())
            has_everywhere |= bool((chunk[SUFFIX] == f"fallback:{EVERYWHERE}").any())
            contents.keys.update(dict(chunk[Lists.AUDIENCE].value_counts().iter_rows()))
            contents.fields.append(int(chunk[NAMES].list.len().sum()))
            contents.digests.append(digests)
        contents.copied += sent.result()
    if not has_everywhere:
        raise InputError(f"The lists have no fallback:{EVERYWHERE}: unknown visitors would see nothing. Add it.")
    if len(np.unique(np.concatenate(found))) < sum(map(len, found)):
        raise InputError("The lists have rows of one key in two places. Put them next to each other.")
    return contents


def write_meta(store: Store, name: str, meta: dict[Any, str]) -> None:
    """Writes the hash with a publication's meta.

    Args:
        store: where to write.
        name: of the publication.
        meta: fields of the hash.
    """
    pipeline = store.client.pipeline(transaction=False)
    pipeline.hset(store.key(name, "meta"), mapping=meta)
    pipeline.expire(store.key(name, "meta"), store.seconds_to_live)
    pipeline.execute()


def check(store: Store, name: str, contents: Contents) -> None:
    """Reads back the number of fields of every key, and every byte of a sample of chunks.

    Args:
        store: where to read.
        name: of the publication.
        contents: from `write`.

    Raises:
        ListStoreUnavailableError: a key is missing, or differs from what was written.
    """
    count = len(contents.digests)
    compared = set(random.sample(range(count), min(count, COMPARED_CHUNKS)))
    for number in range(count):
        suffixes = read_index(store, name, number)
        keys = [store.key(name, suffix) for suffix in suffixes]
        replies: list[Any] = _read_hashes(store, keys) if number in compared else _count_fields(store, keys)
        lost = next((suffix for suffix, reply in zip(suffixes, replies, strict=True) if not reply), None)
        if lost is not None or not suffixes:
            raise ListStoreUnavailableError(
                f"{name} was not made live: {lost or 'part of its index'} is already gone. Does Redis evict keys? "
                "The previous lists stay live."
            )
        if number in compared:
            same = np.array_equal(digests_of(suffixes, replies), contents.digests[number])
        else:
            same = sum(replies) == contents.fields[number]
        if not same:
            raise ListStoreUnavailableError(
                f"{name} was not made live: keys from {suffixes[0]} to {suffixes[-1]} were not read back as they were "
                "written. The previous lists stay live."
            )


def _read_hashes(store: Store, keys: Iterable[str], *, raise_on_error: bool = True) -> list[Any]:
    pipeline = store.client.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key)
    return pipeline.execute(raise_on_error)


def _count_fields(store: Store, keys: Sequence[str]) -> list[int]:
    pipeline = store.client.pipeline(transaction=False)
    if not isinstance(store.client, redis.RedisCluster):
        for some in _some_at_once(keys, COPIED_AT_ONCE):
            pipeline.eval(_COUNT_FIELDS, len(some), *some)
        with suppress(redis.ResponseError):  # the proxy of a cluster may refuse scripts on keys of several nodes
            return list(chain.from_iterable(pipeline.execute()))
    for key in keys:
        pipeline.hlen(key)
    return pipeline.execute()


def _some_at_once(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (keys[begin : begin + size] for begin in range(0, len(keys), size))


def missing(store: Store, name: str) -> int:
    """How many keys are gone, of `LOOKED_FOR_CHUNKS` chunks of a publication; 1 if its index is gone."""
    numbers = chunk_numbers(store, name)
    if not numbers:
        return 1
    lost = 0
    for number in random.sample(numbers, min(len(numbers), LOOKED_FOR_CHUNKS)):
        keys = [store.key(name, suffix) for suffix in read_index(store, name, number)]
        # One command for all, because shoppers wait for a rollback.
        existing: Any = store.client.exists(*keys) if keys else 0
        lost += len(keys) - existing
    return lost


def extend(store: Store, name: str) -> None:
    """Sets the time to live of all keys of a publication to that of a new one, if keys have one."""
    index = store.key(name, "index")
    if not store.keys_expire:
        store.client.persist(index)  # first: keys without an end must not outlive what lists them
    for number in chunk_numbers(store, name):
        pipeline = store.client.pipeline(transaction=False)
        for suffix in read_index(store, name, number):
            key = store.key(name, suffix)
            # Both only queue a command. The type checker sees two types of result.
            _ = pipeline.expire(key, store.seconds_to_live) if store.keys_expire else pipeline.persist(key)
        pipeline.execute()
    if store.keys_expire:
        store.client.expire(index, store.seconds_to_live + _LATER)
    # Last, because the age of a publication is read from its meta.
    store.client.expire(store.key(name, "meta"), store.seconds_to_live)


def remove(store: Store, name: str) -> None:
    """Removes all keys of a publication in small steps. It may be stopped at any point and called again."""
    for number in chunk_numbers(store, name):
        pipeline = store.client.pipeline(transaction=False)
        for suffix in read_index(store, name, number):
            pipeline.unlink(store.key(name, suffix))
        pipeline.execute()
        store.client.hdel(store.key(name, "index"), str(number))
    store.client.unlink(store.key(name, "meta"))
    store.client.unlink(store.key(name, "index"))


def remove_from_index(store: Store, name: str, suffix: str) -> int:
    """Removes a key from a publication's index.

    Args:
        store: where the index is.
        name: of the publication.
        suffix: of the key, e.g. `customer:14646`.

    Returns:
        How many customers are left in the index.
    """
    customers = 0
    for number in chunk_numbers(store, name):
        suffixes = read_index(store, name, number)
        if suffix in suffixes:
            suffixes.remove(suffix)
            _write_index(store, name, number, suffixes)
        customers += sum(each.startswith("customer:") for each in suffixes)
    return customers


def index(store: Store, name: str) -> Iterator[list[str]]:
    """The keys in a publication's index, a chunk at a time."""
    return (read_index(store, name, number) for number in chunk_numbers(store, name))


def _queued(store: Store, name: str, keys: pl.DataFrame) -> Pipeline:
    """The commands that write some keys.

    Raises:
        InputError: a key has a list twice.
    """
    pipeline = store.client.pipeline(transaction=False)
    for suffix, names, texts in keys.select(SUFFIX, NAMES, TEXTS).iter_rows():
        fields = dict(zip(names, texts, strict=True))
        if len(fields) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            audience, _, key = suffix.partition(":")
            raise InputError(NOT_ALLOWED.format(audience=audience, key=key, list_name=twice))
        key = store.key(name, suffix)
        pipeline.hset(key, mapping=fields)
        if store.keys_expire:
            pipeline.expire(key, store.seconds_to_live)
    return pipeline


def _store(store: Store, name: str, queued: Pipeline, same: pl.DataFrame, before: Earlier | None) -> int:
    """Writes what is queued, and copies the keys that are the same as before; returns how many were copied."""
    queued.execute()
    if before is None or same.is_empty():
        return 0
    suffixes = same[SUFFIX].to_list()
    keys = [store.key(of, suffix) for suffix in suffixes for of in (before.name, name)]
    copying = store.client.pipeline(transaction=False)
    for some in _some_at_once(keys, 2 * COPIED_AT_ONCE):
        copying.eval(_COPY, len(some), *some, _time_to_live(store))
    fields = list(chain.from_iterable(copying.execute()))
    is_whole = np.array(fields) == same[NAMES].list.len().to_numpy()
    if not is_whole.all():  # somebody removed the key, or some of it
        for suffix in same.filter(~is_whole)[SUFFIX]:
            store.client.unlink(store.key(name, suffix))
        _queued(store, name, same.filter(~is_whole)).execute()
    return int(is_whole.sum())


def _time_to_live(store: Store) -> str:
    """How many seconds `_COPY` lets a copy live; no text if it has no end."""
    return str(store.seconds_to_live) if store.keys_expire else ""


def _is_held(store: Store, name: str, keys: pl.DataFrame) -> bool:
    """Whether a publication holds these keys, byte by byte."""
    suffixes = keys[SUFFIX].to_list()
    replies = _read_hashes(store, [store.key(name, suffix) for suffix in suffixes], raise_on_error=False)
    return np.array_equal(digests_of(suffixes, replies), keys[DIGEST].to_numpy())


def _write_index(store: Store, name: str, number: int, suffixes: list[str]) -> None:
    store.client.hset(store.key(name, "index"), str(number), zlib.compress(_encode(suffixes).encode()))


def read_index(store: Store, name: str, number: int) -> list[str]:
    """The keys in one chunk of a publication's index, without their start; none if the chunk is gone or damaged."""
    packed: Any = store.client.hget(store.key(name, "index"), str(number))
    try:
        return json.loads(zlib.decompress(packed)) if packed else []
    except (zlib.error, ValueError):
        return []


def chunk_numbers(store: Store, name: str) -> list[int]:
    """The numbers of the chunks in a publication's index; none if the index is gone, or of another type."""
    numbers: Any = if_right_type(lambda: store.client.hkeys(store.key(name, "index"))) or []
    return sorted(int(number) for number in numbers if number.isdigit())


def read_meta(store: Store, name: str) -> dict[str, str]:
    """The fields of a publication's meta; empty if it is gone, or of another type."""
    fields: Any = if_right_type(lambda: store.client.hgetall(store.key(name, "meta"))) or {}
    return {field.decode(errors="replace"): text.decode(errors="replace") for field, text in fields.items()}


def if_right_type(ask: Callable[[], Any]) -> Any:
    """What Redis answers; None if the key is of another type, because somebody else wrote it."""
    try:
        return ask()
    except redis.ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            return None
        raise
