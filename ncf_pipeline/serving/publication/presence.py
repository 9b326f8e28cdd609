"""Which keys of the live publication are still there: a sample of each group, beside the publication's own counts.

A Redis that evicts keys, or that has lost a node, says nothing: customers see best sellers, as if they had no list.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ncf_pipeline.serving.publication import contents
from ncf_pipeline.serving.publication.store import Store, live_name

MOST_LOOKED_FOR = 1000
"""Keys of each group that are looked for: if 1 of 200 is gone, 99 of 100 looks notice."""

_AT_ONCE = 100
_random = np.random.default_rng()

GroupsOf = Callable[[str, Sequence[str]], Iterable[str]]
"""Names the group of each key, from its audience and the ids of some keys."""


@dataclass(frozen=True)
class Group:
    """Keys of the live publication that were looked for.

    Attributes:
        keys: how many the publication's index lists.
        looked_for: a random sample of them, without the start of the keys.
        gone: those that Redis does not have.
    """

    keys: int
    looked_for: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True)
class Presence:
    """What Redis still has of the live publication.

    Attributes:
        publication: its name.
        groups: by name.
        has_index: whether the index is there, which lists the keys.
        miscounted: audiences of which the index lists another number than the meta says, with both.
    """

    publication: str
    groups: Mapping[str, Group]
    has_index: bool
    miscounted: Mapping[str, tuple[int, int]]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was missed."""
        return self.has_index and not self.miscounted and not any(group.gone for group in self.groups.values())

    def __str__(self) -> str:
        """What is gone, as a sentence's end."""
        if not self.has_index:
            return "the index of its keys is gone"
        parts = [
            f"{name}: {len(group.gone):,} of {len(group.looked_for):,} keys looked for, of {group.keys:,}"
            for name, group in self.groups.items()
            if group.gone
        ]
        parts += [
            f"{name}s: {listed:,} are in its index, and {counted:,} were published"
            for name, (listed, counted) in self.miscounted.items()
        ]
        return "; ".join(parts)


def look_for_keys(store: Store, groups_of: GroupsOf) -> Presence | None:
    """Looks for a sample of the live publication's keys, of each group; None if nothing is live.

    Args:
        store: where the publication is.
        groups_of: names the group of each key.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    name = live_name(store)
    if name is None:
        return None
    counts: dict[str, int] = defaultdict(int)
    of_audience: dict[str, int] = defaultdict(int)
    drawn: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for suffixes in contents.index(store, name):
        for group, some in _by_group(suffixes, groups_of, of_audience).items():
            counts[group] += len(some)
            drawn[group] = _draw(drawn[group], some)
    groups = {}
    for group, chosen in drawn.items():
        looked_for = [suffix for _, suffix in chosen]
        groups[group] = Group(counts[group], tuple(looked_for), tuple(_gone(store, name, looked_for)))
    meta = contents.read_meta(store, name)
    miscounted = {
        audience: (of_audience[audience], int(published))
        for audience in ("customer", "product")
        if (published := meta.get(f"{audience}s", "")).isdecimal() and int(published) != of_audience[audience]
    }
    return Presence(name, groups, bool(counts), miscounted if counts else {})


def _by_group(suffixes: Iterable[str], groups_of: GroupsOf, of_audience: dict[str, int]) -> dict[str, list[str]]:
    ids = defaultdict(list)
    for suffix in suffixes:
        audience, _, key = suffix.partition(":")
        ids[audience].append(key)
    by_group = defaultdict(list)
    for audience, keys in ids.items():
        of_audience[audience] += len(keys)
        for key, group in zip(keys, groups_of(audience, keys), strict=True):
            by_group[group].append(f"{audience}:{key}")
    return by_group


def _draw(drawn: list[tuple[float, str]], suffixes: list[str]) -> list[tuple[float, str]]:
    """A sample in which each key so far is equally likely: those with the greatest random numbers."""
    lowest = drawn[-1][0] if len(drawn) == MOST_LOOKED_FOR else -1.0
    numbers = _random.random(len(suffixes)).tolist()
    more = [(number, suffix) for number, suffix in zip(numbers, suffixes, strict=True) if number > lowest]
    return heapq.nlargest(MOST_LOOKED_FOR, drawn + more) if more else drawn


def _gone(store: Store, name: str, suffixes: Sequence[str]) -> list[str]:
    gone = []
    for start in range(0, len(suffixes), _AT_ONCE):
        some = suffixes[start : start + _AT_ONCE]
        pipeline = store.client.pipeline(transaction=False)
        for suffix in some:
            pipeline.exists(store.key(name, suffix))
        gone += [suffix for suffix, there in zip(some, pipeline.execute(), strict=True) if not there]
    return gone
