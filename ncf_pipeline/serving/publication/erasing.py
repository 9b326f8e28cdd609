"""One customer out of every publication that Redis holds, live or not, and what still names them."""

from typing import Any

from ncf_pipeline.serving.publication import contents
from ncf_pipeline.serving.publication.store import Store, connected, live_name, states
from ncf_pipeline.settings import Settings

_AT_ONCE = 10_000


def erase_customer(settings: Settings, customer_id: int) -> int:
    """Removes a customer's lists from all publications. May be stopped at any point and called again.

    Nobody may publish meanwhile: see `ncf_pipeline.privacy.alone`.

    Returns:
        How many publications had lists of theirs.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    suffix = f"customer:{customer_id}"
    with connected(settings, "the customer was not erased from it") as store:
        names = set(states(store)) | ({live} if (live := live_name(store)) else set())
        found = 0
        for name in sorted(names):
            # First the index, which a rollback compares with the keys: what it does not tell of is not missed.
            counted = contents.remove_from_index(store, name, suffix)
            if store.client.unlink(store.key(name, suffix)):
                found += 1
            if store.client.exists(store.key(name, "meta")):
                store.client.hset(store.key(name, "meta"), "customers", str(counted))
    return found


def keys_of_customer(settings: Settings, customer_id: int) -> list[str]:
    """All keys below the prefix that name a customer or, in an index, tell of them, whatever wrote them.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    suffix = f"customer:{customer_id}"
    with connected(settings, "it was not searched for the customer") as store:
        named = [
            key.decode()
            for key in store.client.scan_iter(f"{store.prefix}:*", count=_AT_ONCE)
            if key.decode().endswith(f":{suffix}")
        ]
        return sorted(named + [store.key(name, "index") for name in _indexes(store) if _tells_of(store, name, suffix)])


def _indexes(store: Store) -> list[str]:
    found: Any = store.client.scan_iter(f"{store.prefix}:*:index", count=_AT_ONCE)
    return [key.decode().split(":")[1] for key in found]


def _tells_of(store: Store, name: str, suffix: str) -> bool:
    return any(suffix in suffixes for suffixes in contents.index(store, name))
