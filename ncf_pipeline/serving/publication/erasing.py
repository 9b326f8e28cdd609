"""Erases one customer from every publication in Redis, live or not, with what they dismissed; finds keys of theirs."""

from typing import Any

from ncf_pipeline.serving.publication import contents
from ncf_pipeline.serving.publication.publishing import call_off
from ncf_pipeline.serving.publication.store import Store, connected, live_name, states
from ncf_pipeline.settings import Settings

_AT_ONCE = 10_000


def erase_customer(settings: Settings, customer_id: str) -> int:
    """Removes a customer's lists from all publications, and what they dismissed.

    It may be stopped at any point and called again. No publisher should run meanwhile (see
    `ncf_pipeline.privacy.alone`); one that has lost its lock is called off. Call it after the erasure is recorded: see
    `ncf_pipeline.privacy`.

    Returns:
        How many publications had lists of this customer.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    suffix = f"customer:{customer_id}"
    with connected(settings, "the customer was not erased from it") as store:
        call_off(store, "a customer is erased")
        names = set(states(store)) | ({live} if (live := live_name(store)) else set())
        erased = 0
        store.client.unlink(store.key("dismissed", suffix))
        for name in sorted(names):
            # The index first: a rollback looks for the keys that it lists, and must not miss this one.
            counted = contents.remove_from_index(store, name, suffix)
            if store.client.unlink(store.key(name, suffix)):
                erased += 1
            if store.client.exists(store.key(name, "meta")):
                store.client.hset(store.key(name, "meta"), "customers", str(counted))
    return erased


def keys_of_customer(settings: Settings, customer_id: str) -> list[str]:
    """All keys under the prefix that name a customer, and the indexes that list such a key, whatever wrote them.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    suffix = f"customer:{customer_id}"
    with connected(settings, "it was not searched for the customer") as store:
        named = [
            key.decode()
            for key in store.client.scan_iter(f"{store.prefix}:*", count=_AT_ONCE)
            # After the prefix and the publication's name: an id may contain colons itself.
            if key.decode().removeprefix(f"{store.prefix}:").partition(":")[2] == suffix
        ]
        return sorted(named + [store.key(name, "index") for name in _indexed(store) if _lists_key(store, name, suffix)])


def _indexed(store: Store) -> list[str]:
    """Names of the publications that have an index."""
    keys: Any = store.client.scan_iter(f"{store.prefix}:*:index", count=_AT_ONCE)
    return [key.decode().split(":")[1] for key in keys]


def _lists_key(store: Store, name: str, suffix: str) -> bool:
    return any(suffix in suffixes for suffixes in contents.index(store, name))
