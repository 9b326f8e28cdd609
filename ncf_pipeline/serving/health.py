"""What readers of the live lists would not notice: lists that are gone, values that are broken, a Redis that is full.

A customer without a list sees best sellers, and so does one whose list was evicted. So a sample of the publication's
keys is looked for, by group, and a smaller one is read as the storefront reads it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis
from redis.exceptions import RedisClusterException

from ncf_pipeline.columns import LISTS_OF
from ncf_pipeline.errors import ListStoreError, ListStoreUnavailableError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.records import Experiment
from ncf_pipeline.privacy import hold_off
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.publication import Presence, Room
from ncf_pipeline.serving.publication.room import in_mb
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.faults import may_pass
from ncf_pipeline.storefront import Storefront

MOST_READ = 200
"""Keys of each group that are read as the storefront reads them."""


@dataclass(frozen=True)
class Health:
    """The live lists, and the Redis that holds them.

    Attributes:
        presence: which keys are there; None if nothing is live.
        read: keys that were read as the storefront reads them.
        broken_values: values among them that the storefront cannot use.
        room: the memory of Redis.
    """

    presence: Presence | None
    read: int
    broken_values: int
    room: Room

    @property
    def gone(self) -> int:
        """Keys that were looked for, and that Redis does not have."""
        return sum(len(group.gone) for group in self.presence.groups.values()) if self.presence is not None else 0

    @property
    def unseen(self) -> tuple[str, ...]:
        """What could not be seen, and why."""
        return self.room.unseen

    @property
    def what_is_gone(self) -> str | None:
        """Which lists are gone, as a sentence; None if none was missed."""
        if self.presence is None or self.presence.is_whole:
            return None
        return f"Lists of {self.presence.publication} are gone: {self.presence}."

    @property
    def what_is_broken(self) -> str | None:
        """How many values are broken, as a sentence; None if none is."""
        if self.presence is None or not self.broken_values:
            return None
        return (
            f"{self.broken_values:,} values of {self.presence.publication} are broken, in {self.read:,} keys that were "
            "read."
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """All that is wrong, as sentences."""
        all_of = (self.what_is_gone, self.what_is_broken, self.room.evicts, self.room.is_full)
        return tuple(problem for problem in all_of if problem is not None)

    def lines(self) -> list[str]:
        """For a person."""
        if self.presence is None:
            lines = ["Nothing is live."]
        else:
            lines = [f"{self.presence.publication} is live."]
            lines += [
                f"{name}: {group.keys:,} keys; {len(group.looked_for):,} looked for, {len(group.gone):,} gone"
                for name, group in self.presence.groups.items()
            ]
            lines.append(f"{self.read:,} keys read; {self.broken_values:,} broken values")
        lines += [str(server) for server in self.room.servers]
        if self.room.needed is not None:
            lines.append(f"The next publication takes about {in_mb(self.room.needed)} of each.")
        return [*lines, *(f"Not seen: {line}." for line in self.unseen), *self.problems]

    def as_dict(self) -> dict[str, Any]:
        """What `ncf-pipeline lists --json` prints. It names no customer."""
        groups = self.presence.groups if self.presence is not None else {}
        return {
            "publication": self.presence.publication if self.presence is not None else None,
            "groups": {
                name: {"keys": group.keys, "looked_for": len(group.looked_for), "gone": len(group.gone)}
                for name, group in groups.items()
            },
            "read": self.read,
            "broken_values": self.broken_values,
            "servers": [asdict(server) for server in self.room.servers],
            "needed_bytes": self.room.needed,
            "unseen": list(self.unseen),
            "problems": list(self.problems),
        }


def check_lists(settings: Settings) -> Health:
    """Looks at the live lists now.

    Raises:
        DatabaseError: Postgres does not answer.
        ListStoreError: Redis does not answer.
    """
    try:
        return look(settings)
    except (redis.RedisError, RedisClusterException) as error:
        kind = ListStoreUnavailableError if may_pass(error) else ListStoreError
        raise kind(f"Redis: the lists were not read: {settings.without_secrets(str(error))}.") from error


def open_storefront(settings: Settings, timeout: float = 5) -> Storefront:
    """A client as the storefront's, which raises if Redis does not answer, and hides nothing of a list."""
    return Storefront(
        settings.list_store(),
        prefix=settings.key_prefix,
        cluster=settings.redis_cluster,
        chances=settings.chances or settings.due,
        whole=True,
        raise_errors=True,
        timeout=timeout,
    )


def look(settings: Settings) -> Health:
    """Looks for a sample of the live lists, reads some of them, and asks Redis for its memory.

    Args:
        settings: where the lists are.

    Raises:
        DatabaseError: Postgres does not answer.
        ListStoreError, redis.RedisError: Redis does not answer.
    """
    running = experiment_registry.running(settings)
    groups_of = _Groups(running)
    presence = publication.present_keys(settings, groups_of)
    if presence is not None and not presence.is_whole:
        # An erasure, and a publication that was just replaced, look alike. So look again while nobody is erased.
        with transaction(settings) as connection:
            hold_off(connection)
            presence = publication.present_keys(settings, groups_of)
    read, broken = _read(presence, settings) if presence is not None else (0, 0)
    return Health(presence, read, broken, publication.memory(settings))


@dataclass(frozen=True)
class _Groups:
    """Names the group of each key: its audience, or a customer's group in the running experiment."""

    running: Experiment | None

    def __call__(self, audience: str, ids: Sequence[str]) -> Iterable[str]:
        if self.running is None or audience != "customer":
            return [audience] * len(ids)
        design = self.running.design
        in_share = chosen(design.salt, design.share, ids)
        return [f"customer in {design.name}'s share" if inside else "customer outside" for inside in in_share]


def _read(presence: Presence, settings: Settings) -> tuple[int, int]:
    """How many keys were read, and how many values among them the storefront cannot use."""
    read = 0
    with open_storefront(settings) as shop:
        for group in presence.groups.values():
            for suffix in group.looked_for[:MOST_READ]:
                audience, _, key = suffix.partition(":")
                if audience == "customer":
                    shop.lists_of_customer(key)
                elif audience == "product":
                    for name in LISTS_OF["product"]:
                        shop.for_product(key, list_name=name)  # type: ignore[arg-type]
                elif audience == "category":
                    shop.for_visitor(category=key)
                else:
                    shop.for_visitor(country=key)
                read += 1
        met = shop.statistics
    return read, met.broken_lists + met.broken_reasons + met.broken_chances + met.broken_meta
