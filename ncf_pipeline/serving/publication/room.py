"""Whether Redis may remove lists by itself, and whether the next publication will find memory.

What the user of `NCF_REDIS_URL` may not ask (`INFO`, `CONFIG GET`, `MEMORY USAGE`) is said and passed over: it stops
nobody.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from ncf_pipeline.columns import BUY_AGAIN, FOR_YOU, LISTS_OF, REASONED_LISTS, chances_of, due_of, reasons_of
from ncf_pipeline.serving.publication import contents
from ncf_pipeline.serving.publication.store import Store, live_name, states, whole_since
from ncf_pipeline.settings import Settings

NO_EVICTION = "noeviction"

SAMPLED_CHUNKS = 20
KEYS_OF_CHUNK = 25
"""Keys whose memory is asked for, of each sampled chunk of the live publication."""

ENTRY_BYTES = 64
"""What the tables of keys and of expiry times take for a key, beside its own memory: see docs/serving.md."""

UNASKED_BYTES = 120
"""What a key takes beside its fields' texts, where `MEMORY USAGE` may not be asked."""


@dataclass(frozen=True)
class Server:
    """What one server says of its memory.

    Attributes:
        name: its address in a cluster; else "Redis".
        policy: `maxmemory-policy`; None if it cannot be seen.
        used: bytes; None if they cannot be seen.
        limit: bytes, of `maxmemory`, or of the machine if that is 0; None if it cannot be seen.
        is_limited: whether the limit is `maxmemory`.
    """

    name: str
    policy: str | None
    used: int | None
    limit: int | None
    is_limited: bool

    def __str__(self) -> str:
        used = "?" if self.used is None else in_mb(self.used)
        limit = "?" if self.limit is None else in_mb(self.limit)
        of = "maxmemory" if self.is_limited else "of the machine"
        return f"{self.name}: maxmemory-policy {self.policy or '?'}; {used} of {limit} ({of}) used"


@dataclass(frozen=True)
class Room:
    """The memory of all servers that hold lists, and what the next publication will take.

    Attributes:
        servers: one, or the masters of a cluster.
        needed: bytes that the next publication takes of each server; None before the first publication.
        keep: publications that stay.
        unseen: what could not be asked, and why.
    """

    servers: tuple[Server, ...]
    needed: int | None
    keep: int
    unseen: tuple[str, ...]

    @property
    def evicts(self) -> str | None:
        """Why Redis may remove lists by itself, as a sentence; None if it does not, or if that cannot be seen."""
        evicting = {server.name: server.policy for server in self.servers if server.policy not in (None, NO_EVICTION)}
        if not evicting:
            return None
        of = "; ".join(f"{name} has maxmemory-policy {policy}" for name, policy in evicting.items())
        return f"{of}, so it removes lists when its memory is full, and says nothing. Set {NO_EVICTION}."

    @property
    def is_full(self) -> str | None:
        """Why the next publication finds no room, as a sentence; None if it does, or if that cannot be seen."""
        for server in self.servers:
            if self.needed is None or server.used is None or server.limit is None:
                continue
            free = server.limit - server.used
            if free < self.needed:
                limit = "maxmemory" if server.is_limited else "the machine's memory"
                fewer = ", or set NCF_KEEP_PUBLICATIONS=1" if self.keep > 1 else ""
                return (
                    f"{server.name} has {in_mb(max(free, 0))} left of {in_mb(server.limit)} ({limit}), and the next "
                    f"publication takes about {in_mb(self.needed)}. Give Redis more memory{fewer}."
                )
        return None


def left_out(settings: Settings) -> frozenset[bytes]:
    """The fields of customers that the next publication does not have."""
    reasons = () if settings.reasons else map(reasons_of, REASONED_LISTS)
    chances = () if settings.chances else (chances_of(FOR_YOU),)
    due = () if settings.due else (due_of(BUY_AGAIN),)
    lists = [name for name in LISTS_OF["customer"] if name not in settings.published_lists]
    return frozenset(name.encode() for name in (*lists, *map(reasons_of, lists), *reasons, *chances, *due))


def look(
    store: Store, keep: int, meta: Mapping[str, Any] | None = None, *, without: frozenset[bytes] = frozenset()
) -> Room:
    """Asks every server for its memory, and the live publication for its size.

    Args:
        store: to ask.
        keep: publications that stay; older ones are removed before the next is written.
        meta: of the next publication, if it is known: its customers, products and the length of its lists.
        without: fields that the next publication does not have, from `left_out`.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    unseen: list[str] = []
    servers = tuple(_server(store, name, node, unseen) for name, node in _nodes(store))
    live = live_name(store)
    sample = _sample(store, live, unseen, without) if live is not None else None
    if live is None or sample is None:
        return Room(servers, None, keep, tuple(unseen))
    held = sum(whole_since(state) is not None for state in states(store).values())
    needed = _next(sample, contents.read_meta(store, live), meta or {}) - sample.keys * sample.memory * max(
        held - keep, 0
    )
    return Room(servers, max(round(needed), 0) // len(servers), keep, tuple(unseen))


def _nodes(store: Store) -> list[tuple[str, Any]]:
    """The servers that hold lists, by name; None stands for the only one."""
    if isinstance(store.client, redis.RedisCluster):
        return [(str(node.name), node) for node in store.client.get_primaries()]
    return [("Redis", None)]


def _server(store: Store, name: str, node: Any, unseen: list[str]) -> Server:
    asked = {} if node is None else {"target_nodes": node}
    client: Any = store.client
    try:
        info = client.info("memory", **asked)
    except redis.ResponseError as error:
        _pass_over(unseen, "how full Redis is (INFO)", error)
        info = {}
    policy = info.get("maxmemory_policy")
    if policy is None:
        try:
            policy = client.config_get("maxmemory-policy", **asked).get("maxmemory-policy")
        except redis.ResponseError as error:
            _pass_over(unseen, "its maxmemory-policy (INFO, CONFIG GET)", error)
    used, most, machine = (_number(info.get(each)) for each in ("used_memory", "maxmemory", "total_system_memory"))
    return Server(name, policy, used, most or machine, is_limited=bool(most))


@dataclass(frozen=True)
class _Sample:
    """What a key of the live publication takes, on average, in bytes.

    Attributes:
        keys: of the whole publication.
        memory: of a key, with its share of the tables.
        texts: of its fields.
        kept_texts: of those fields that the next publication has too.
    """

    keys: int
    memory: float
    texts: float
    kept_texts: float


def _sample(store: Store, live: str, unseen: list[str], without: frozenset[bytes]) -> _Sample | None:
    """Asks for a sample of keys; None if there are none left to ask for."""
    numbers = contents.chunk_numbers(store, live)
    if not numbers:
        return None
    # Evenly, because customers come first and products last.
    step = max(1, len(numbers) // SAMPLED_CHUNKS)
    chunks = {number: contents.read_index(store, live, number) for number in {*numbers[::step], numbers[-1]}}
    keys = [
        store.key(live, suffix)
        for suffixes in chunks.values()
        for suffix in random.sample(suffixes, min(len(suffixes), KEYS_OF_CHUNK))
    ]
    pipeline = store.client.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key)
    hashes = [fields for fields in pipeline.execute(raise_on_error=False) if isinstance(fields, dict) and fields]
    if not hashes:
        return None
    lengths = [(name not in without, len(text)) for of in hashes for name, text in of.items()]
    texts = sum(length for _, length in lengths) / len(hashes)
    return _Sample(
        keys=(len(numbers) - 1) * contents.KEYS_AT_ONCE + len(chunks[numbers[-1]]),
        memory=ENTRY_BYTES + (_memory_of(store, keys, unseen) or texts + UNASKED_BYTES),
        texts=texts,
        kept_texts=sum(length for stays, length in lengths if stays) / len(hashes),
    )


def _memory_of(store: Store, keys: list[str], unseen: list[str]) -> float | None:
    """Bytes of a key on average, as Redis says; None if it may not be asked."""
    client: Any = store.client
    found = []
    for key in keys:
        try:
            found.append(client.memory_usage(key))
        except redis.ResponseError as error:
            _pass_over(unseen, "the memory of a key (MEMORY USAGE)", error)
            return None
    known = [size for size in found if size is not None]
    return sum(known) / len(known) if known else None


def _next(sample: _Sample, before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Bytes of the next publication.

    Args:
        sample: of the live one.
        before: meta of the live one.
        after: meta of the next one; may be empty.
    """
    size, size_after = _keys_in(before), _keys_in(after)
    growth = size_after / size if size and size_after else 1.0
    top_n, top_n_after = _number(before.get("top_n")), _number(after.get("top_n"))
    shorter = min(1.0, top_n_after / top_n) if top_n and top_n_after else 1.0
    return sample.keys * growth * (sample.memory - sample.texts + sample.kept_texts * shorter)


def _keys_in(meta: Mapping[str, Any]) -> int:
    """Customers and products in a meta; 0 if it does not say how many."""
    counts = [_number(meta.get(name)) for name in ("customers", "products")]
    return sum(count or 0 for count in counts) if None not in counts else 0


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _pass_over(unseen: list[str], what: str, error: redis.ResponseError) -> None:
    """Notes, once, what could not be seen: this user may not ask, or a proxy does not know the command."""
    if not any(line.startswith(what) for line in unseen):
        unseen.append(f"{what}: {str(error).rstrip('.')}")


def in_mb(size: int) -> str:
    """Bytes in words.

    >>> in_mb(2_500_000), in_mb(900)
    ('2.5 MB', '0.0 MB')
    """
    return f"{size / 1e6:,.1f} MB"
