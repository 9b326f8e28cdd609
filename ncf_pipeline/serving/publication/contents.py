"""The keys of one publication, a thousand at a time: written, read back, kept alive, removed.

Each thousand is entered in the publication's index before it is written. So everything that a killed publisher left
can be found without scanning Redis, which may hold much more than lists.
"""

import json
import random
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import redis

from ncf_pipeline.columns import (
    BUY_AGAIN,
    EVERYWHERE,
    FOR_YOU,
    LISTS_OF,
    REASONED_LISTS,
    Lists,
    chances_of,
    due_of,
    reasons_of,
)
from ncf_pipeline.errors import InputError, ListStoreUnavailableError
from ncf_pipeline.serving.publication.store import Store

KEYS_AT_ONCE = 1000
COMPARED_CHUNKS = 50
"""Chunks that are compared byte by byte after writing: a random sample, or all if there are no more."""

LOOKED_FOR_CHUNKS = 20
"""Chunks whose keys must exist before a publication is live again: a random sample, or all if there are no more."""

_BESIDE = {
    Lists.REASONS: {name: reasons_of(name) for name in REASONED_LISTS},
    Lists.CHANCES: {FOR_YOU: chances_of(FOR_YOU)},
    Lists.DUE: {BUY_AGAIN: due_of(BUY_AGAIN)},
}
"""Optional columns: by list, the field that stands beside it in the hash of a customer, or of a product."""

_TYPES = {
    **dict.fromkeys((Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, *_BESIDE), pl.String()),
    Lists.STOCK_CODES: pl.List(pl.String()),
}
_RUN = pl.struct(Lists.AUDIENCE, Lists.KEY).rle_id().alias("run")
_FIELDS = "fields"
_NOT_ALLOWED = "{audience} {key} has a list {list_name}, which it must not have, or has it twice."

_LATER = 86_400  # seconds by which the index outlives the keys that it lists

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

AnyLists: TypeAlias = pa.RecordBatch | pd.DataFrame
Fields = dict[Any, str]  # redis-py accepts several types of keys
Hash = tuple[str, Fields]  # the key without `ncf:p000042:`, and its fields


@dataclass
class Contents:
    """What was written, to compare with what is read back.

    Attributes:
        keys: number of keys by audience.
        fields: for each chunk, the number of fields in all its keys.
        digests: for each chunk, a digest of all its keys and fields.
    """

    keys: Counter[str] = field(default_factory=Counter)
    fields: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)


def write(store: Store, name: str, lists: Iterable[AnyLists], before_each: Callable[[], None]) -> Contents:
    """Writes all lists under a publication's name.

    Args:
        store: where to write.
        name: of the publication.
        lists: batches of Arrow, or frames, with the columns of `columns.Lists`, with or without the optional ones; the
            rows of one key are next to each other.
        before_each: called before each chunk is written; it raises to stop.

    Returns:
        Counts and digests, for `check`.

    Raises:
        InputError: the lists cannot be a publication.
    """
    contents = Contents()
    everywhere = f"fallback:{EVERYWHERE}"
    hashed = array("q")  # 8 bytes for each key, to find keys that occur twice
    with ThreadPoolExecutor(1) as writer:  # Redis stores a chunk while the next one is made
        sent: Future[list[Any]] = writer.submit(list)
        for number, chunk in enumerate(_chunks(_hashes(lists, store.customer_lists))):
            before_each()
            _write_index(store, name, number, [suffix for suffix, _ in chunk])
            if store.keys_expire:
                store.client.expire(store.key(name, "index"), store.seconds_to_live + _LATER)
            pipeline = store.client.pipeline(transaction=False)
            for suffix, fields in chunk:
                key = store.key(name, suffix)
                pipeline.hset(key, mapping=fields)
                if store.keys_expire:
                    pipeline.expire(key, store.seconds_to_live)
                contents.keys[suffix.partition(":")[0]] += 1
                hashed.append(hash(suffix))
            sent.result()
            sent = writer.submit(pipeline.execute)
            contents.fields.append(sum(len(fields) for _, fields in chunk))
            contents.digests.append(_digest(chunk))
        sent.result()
    if hash(everywhere) not in hashed:
        raise InputError(f"The lists have no {everywhere}: unknown visitors would see nothing. Add it.")
    if len(np.unique(np.frombuffer(hashed, np.int64))) < len(hashed):
        raise InputError("The lists have rows of one key in two places. Put them next to each other.")
    return contents


def write_meta(store: Store, name: str, meta: Fields) -> None:
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
        pipeline = store.client.pipeline(transaction=False)
        for suffix in suffixes:
            key = store.key(name, suffix)
            # Both only queue a command. The type checker sees two types of result.
            _ = pipeline.hgetall(key) if number in compared else pipeline.hlen(key)
        replies: list[Any] = pipeline.execute()
        lost = next((suffix for suffix, reply in zip(suffixes, replies, strict=True) if not reply), None)
        if lost is not None or not suffixes:
            raise ListStoreUnavailableError(
                f"{name} was not made live: {lost or 'part of its index'} is already gone. Does Redis evict keys? "
                "The previous lists stay live."
            )
        if number in compared:
            chunk = [
                (suffix, {part.decode(): text.decode() for part, text in reply.items()})
                for suffix, reply in zip(suffixes, replies, strict=True)
            ]
            same = _digest(chunk) == contents.digests[number]
        else:
            same = sum(replies) == contents.fields[number]
        if not same:
            raise ListStoreUnavailableError(
                f"{name} was not made live: keys from {suffixes[0]} to {suffixes[-1]} were not read back as they were "
                "written. The previous lists stay live."
            )


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


def _hashes(lists: Iterable[AnyLists], of_customers: Container[str]) -> Iterator[Hash]:
    """One (key, fields) for each key, also if its rows are in two frames; of customers, the lists that are named."""
    left = None
    for each in lists:
        rows = _with_fields(_table_of(each), of_customers)
        rows = rows if left is None else pl.concat([left, rows])
        may_go_on = rows.select(_RUN.eq(_RUN.last())).to_series()  # the last key, in the next frame
        left = rows.filter(may_go_on)
        yield from _of_keys(rows.filter(~may_go_on))
    if left is not None:
        yield from _of_keys(left)


def _of_keys(rows: pl.DataFrame) -> Iterator[Hash]:
    keys = rows.group_by(_RUN, maintain_order=True).agg(pl.first(Lists.AUDIENCE, Lists.KEY), pl.col(_FIELDS).explode())
    for audience, key, texts in keys.select(Lists.AUDIENCE, Lists.KEY, _FIELDS).iter_rows():
        names = texts[::2]
        fields: Fields = dict(zip(names, texts[1::2], strict=True))
        if len(fields) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise InputError(_NOT_ALLOWED.format(audience=audience, key=key, list_name=twice))
        yield f"{audience}:{key}", fields


def _with_fields(table: pl.DataFrame, of_customers: Container[str]) -> pl.DataFrame:
    """The audience and the key of each list that is published, and its fields, each with its text after it."""
    audience, name = pl.col(Lists.AUDIENCE), pl.col(Lists.LIST_NAME)
    left_out = [each for each in LISTS_OF["customer"] if each not in of_customers]
    table = table.filter(~((audience == "customer") & name.is_in(left_out)))
    allowed = pl.any_horizontal((audience == each) & name.is_in(names) for each, names in LISTS_OF.items())
    for row in table.filter(~allowed)[:1].iter_rows(named=True):
        raise InputError(_NOT_ALLOWED.format_map(row))
    for row in table.filter(pl.col(Lists.STOCK_CODES).is_null())[:1].iter_rows(named=True):
        raise InputError("{audience} {key}: {list_name} is not a list of stock codes.".format_map(row))
    listed = pl.struct(Lists.STOCK_CODES).struct.json_encode()
    texts = [name, listed.str.strip_prefix(f'{{"{Lists.STOCK_CODES}":').str.strip_suffix("}")]
    for column, fields in _BESIDE.items():
        is_there = pl.col(column).is_not_null() & audience.is_in(["customer", "product"]) & name.is_in(list(fields))
        beside = name.replace_strict(fields, default=None, return_dtype=pl.String), pl.col(column)
        texts += [pl.when(is_there).then(text) for text in beside]
    return table.select(audience, Lists.KEY, pl.concat_list(texts).list.drop_nulls().alias(_FIELDS))


def _table_of(lists: AnyLists) -> pl.DataFrame:
    """The columns of `_TYPES`; optional ones that are not there are empty."""
    there = lists.columns if isinstance(lists, pd.DataFrame) else lists.schema.names
    names = [name for name in _TYPES if name in there]
    try:
        known = pl.from_pandas(lists[names]) if isinstance(lists, pd.DataFrame) else pl.from_arrow(lists.select(names))
        table = pl.DataFrame(known).with_columns(pl.lit(None).alias(name) for name in _TYPES if name not in there)
        return table.select(pl.col(name).cast(kind) for name, kind in _TYPES.items())
    except (TypeError, ValueError, pl.exceptions.InvalidOperationError) as error:
        raise InputError(f"A row of the lists has no list of stock codes: {error}.") from error


def _chunks(hashes: Iterable[Hash]) -> Iterator[list[Hash]]:
    chunk: list[Hash] = []
    for entry in hashes:
        chunk.append(entry)
        if len(chunk) == KEYS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _digest(chunk: Iterable[Hash]) -> bytes:
    parts = (f"{suffix}\0{name}\0{fields[name]}" for suffix, fields in chunk for name in sorted(fields))
    return blake2b("\0".join(parts).encode(), digest_size=16).digest()


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
