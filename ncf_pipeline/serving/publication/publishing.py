"""Publishing, and going back: the order of steps that lets shoppers see one whole set of lists at any time.

A number goes through these states, each change of which is made only if nobody was faster:

    writing → whole (→ live → whole ...) → removing → gone
       └──────────────────────────────────────↗

- A publisher that is killed leaves a number `writing` that nobody keeps alive. The next publisher removes
  it. Running again is always right: with a new number, or with the same.
- Two publishers at once write under two numbers. The higher one is live in the end, whoever is done first;
  the lower one, if it comes last, is told that it came too late.
- `flip` calls off whatever is being written: who rolls back does not want it to come in a minute later. A publisher
  that had asked who serves just before the registry knew of the rollback, and began to write just after the flip, is
  called off by `hold`.
- What was live a moment ago stays for readers who hold its number, whatever the number kept.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from ncf_pipeline.errors import GoneError, ListStoreError
from ncf_pipeline.serving.publication import contents
from ncf_pipeline.serving.publication.store import (
    FAULTS,
    REMOVING,
    Store,
    change_state,
    connected,
    count_up_to,
    is_writing,
    live_name,
    move_pointer,
    name_of,
    newest,
    next_number,
    now,
    number_of,
    retire,
    states,
    whole,
    whole_since,
    writing,
)
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 30
"""For how long a publisher counts as alive after its last sign."""

PATIENCE_SECONDS = ALIVE_SECONDS + 5
"""For how long a publisher waits for another one that holds its number: whoever was killed is forgotten by then."""

GRACE_SECONDS = 10
"""For how long a publication that was live stays at least: readers may hold its number for a second or so."""


@dataclass(frozen=True)
class Published:
    """What a publication consists of: how many keys of each audience, and how long it took."""

    number: int
    keys: dict[str, int]
    seconds: float


def publish(
    settings: Settings, lists: Iterable[pd.DataFrame], *, number: int | None = None, meta: Mapping[str, Any]
) -> Published:
    """Writes all lists under a number of their own, checks them by reading back, and makes them live.

    Args:
        settings: where, how long keys live, how many publications stay.
        lists: frames with the columns of `columns.Lists`; the rows of one key next to each other. They are
            taken one by one, so that millions of customers need no more memory than one frame.
        number: of the publication, higher than that of the live one; the next one if None.
        meta: fields of `ncf:pNNNNNN:meta`. `customers` and `products` are counted here; `published_at` is now
            where it is not given.

    Raises:
        InputError: the lists cannot be a publication. The lists before still serve.
        ListStoreError: Redis refused, what was read back differs, or a higher number went live or a rollback
            happened meanwhile. The lists before still serve.
    """
    started = time.monotonic()
    with connected(settings, "the publication was not made live") as store:
        _extend_the_live_one(store)
        _remove_old(store, settings.keep_publications)  # also before, for its memory
        name = name_of(next_number(store) if number is None else _checked(store, number))
        mine = writing(uuid.uuid4().hex)
        with _sign_of_life(store, name):
            _open(store, name, mine)
            try:
                written = contents.write(store, name, lists, lambda: _refuse_unless_mine(store, name, mine))
                counted = {"customers": written.keys["customer"], "products": written.keys["product"]}
                at = datetime.now(UTC).isoformat(timespec="seconds")
                fields = {"published_at": at, **meta, **counted}
                contents.write_meta(store, name, {part: str(value) for part, value in fields.items()})
                contents.check(store, name, written)
                _make_live(store, name, mine)
            except Exception:
                _drop(store, name, mine)
                raise
        _remove_old(store, settings.keep_publications)
    return Published(number_of(name), dict(written.keys), time.monotonic() - started)


def flip(settings: Settings, number: int) -> None:
    """Makes a publication live that Redis still holds, and calls off any that is being written.

    Shoppers come first: `renew` lets it live as long as a new one.

    Raises:
        GoneError: it is not there, or not whole. What serves still serves.
        ListStoreError: Redis cannot be reached, or refused.
    """
    name = name_of(number)
    with connected(settings, f"{name} was not made live") as store:
        state = states(store).get(name)
        gone = GoneError(f"{name} is not in Redis any more: publish its lists again. What serves still serves.")
        if (
            whole_since(state) is None
            or not store.client.exists(store.key(name, "meta"))
            or contents.missing(store, name)
        ):
            raise gone
        _call_off_others(store, name)
        # What is whole since just now, nobody removes.
        if not change_state(store, name, state, whole(now(store))):
            raise gone
        _point_to(store, name)


def hold(settings: Settings, number: int) -> bool:
    """Calls off whatever began to be written since a flip, and takes shoppers back if it was faster than that.

    Returns:
        Whether it was: the publication is live again.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    name = name_of(number)
    with connected(settings, f"{name} may not be live any more") as store:
        _call_off_others(store, name)
        return _point_to(store, name)


def renew(settings: Settings, number: int) -> None:
    """Lets a publication live as long as a new one.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    name = name_of(number)
    with connected(settings, f"{name} expires as it would have") as store:
        contents.extend(store, name)
        if live_name(store) == name:
            store.client.expire(store.pointer, store.seconds_to_live)


def live_publication(settings: Settings) -> dict[str, str] | None:
    """The live publication's meta with its `name`; None before the first."""
    with connected(settings, "the live publication cannot be told") as store:
        name = live_name(store)
        if name is None:
            return None
        meta: Any = store.client.hgetall(store.key(name, "meta"))
    return {"name": name, **{field.decode(): value.decode() for field, value in meta.items()}}


def publications(settings: Settings) -> list[int]:
    """Numbers of the whole publications that Redis holds, newest first."""
    with connected(settings, "publications cannot be listed") as store:
        known = [name for name, state in states(store).items() if whole_since(state) is not None]
        held = [name for name in known if store.client.exists(store.key(name, "meta"))]
    return sorted(map(number_of, held), reverse=True)


def newest_number(settings: Settings) -> int:
    """The highest number that Redis knows, whole or not; 0 if none."""
    with connected(settings, "publications cannot be listed") as store:
        return newest(store)


def _checked(store: Store, number: int) -> int:
    _refuse_unless_newer(name_of(number), live_name(store))
    count_up_to(store, number)
    return number


def _refuse_unless_newer(name: str, live: str | None) -> None:
    if live is not None and number_of(live) >= number_of(name):
        raise ListStoreError(f"{name} was not made live: {live} is, which is not older. Nothing changed for shoppers.")


def _refuse_unless_mine(store: Store, name: str, mine: str) -> None:
    if states(store).get(name) != mine:
        raise ListStoreError(
            f"{name} was not made live: it was called off by a rollback, or another process has taken it over. "
            "Nothing changed for shoppers."
        )


@contextmanager
def _sign_of_life(store: Store, name: str) -> Iterator[None]:
    """Shows other publishers that this one is alive, however long a list takes to come.

    Raises:
        ListStoreError: somebody else writes the same publication, and is alive.
    """
    key, mine = store.key(name, "writing"), uuid.uuid4().hex
    patience = time.monotonic() + PATIENCE_SECONDS
    while not store.client.set(key, mine, nx=True, ex=ALIVE_SECONDS):
        if time.monotonic() > patience:
            raise ListStoreError(f"{name} is being written by another process. The lists before still serve.")
        time.sleep(0.5)
    done = threading.Event()

    def show() -> None:
        while not done.wait(ALIVE_SECONDS / 3):
            # What goes wrong here, the publisher meets too, and it is the one who tells.
            with suppress(*FAULTS):
                store.client.set(key, mine, nx=True, ex=ALIVE_SECONDS)
                if store.client.get(key) == mine.encode():
                    store.client.expire(key, ALIVE_SECONDS)

    thread = threading.Thread(target=show, name=f"writing {name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with suppress(*FAULTS):  # it expires by itself
            if store.client.get(key) == mine.encode():
                store.client.unlink(key)


def _open(store: Store, name: str, mine: str) -> None:
    """Takes a number; what somebody who was killed left under it goes first."""
    state = states(store).get(name)
    if state is not None:
        logger.info("%s was begun before and is written anew.", name)
        change_state(store, name, state, REMOVING)
        contents.remove(store, name)
        change_state(store, name, REMOVING, None)
    if not change_state(store, name, None, mine):
        raise ListStoreError(f"{name} is being written by another process. The lists before still serve.")


def _make_live(store: Store, name: str, mine: str) -> None:
    live = live_name(store)
    _refuse_unless_newer(name, live)
    state = whole(now(store))
    if not change_state(store, name, mine, state):
        _refuse_unless_mine(store, name, mine)
    try:
        live = _move_forward(store, live, name)
    except ListStoreError:
        change_state(store, name, state, mine)  # so that it is removed like any that failed
        raise
    if states(store).get(name) != state and live is not None:
        # This process stood still for so long that others have begun to remove what it had just finished.
        move_pointer(store, name, live)
        raise ListStoreError(f"{name} was not made live: others thought it abandoned. The lists before still serve.")


def _call_off_others(store: Store, name: str) -> None:
    for other, state in states(store).items():
        if is_writing(state) and change_state(store, other, state, REMOVING):
            logger.warning("%s was being written and is called off: %s is made live.", other, name)


def _point_to(store: Store, name: str) -> bool:
    """Makes a publication live, whatever is; gives whether it was not."""
    moved = False
    while (live := live_name(store)) != name:
        if live is not None:
            retire(store, live)
        moved = move_pointer(store, live, name)
    return moved


def _move_forward(store: Store, live: str | None, name: str) -> str | None:
    """Makes a publication live unless a newer one is, or shoppers were taken back meanwhile; gives the one before."""
    while True:
        if live is not None:
            retire(store, live)
        if move_pointer(store, live, name):
            return live
        before, live = live, live_name(store)
        _refuse_unless_newer(name, live)
        if before is not None and (live is None or number_of(live) < number_of(before)):
            raise ListStoreError(f"{name} was not made live: {live} was, by a rollback. Nothing changed for shoppers.")


def _drop(store: Store, name: str, mine: str) -> None:
    """Removes what failed, at once, because memory may be what it failed for."""
    with suppress(*FAULTS):  # then the next publication does it
        if (state := states(store).get(name)) in (mine, REMOVING):
            # The keys first: a Redis that is full removes, but changes nothing.
            contents.remove(store, name)
            change_state(store, name, state, None)


def _extend_the_live_one(store: Store) -> None:
    """A live publication past the middle of its life gets a new one, in case that this one fails."""
    live = live_name(store)
    if live is None:
        return
    left: Any = store.client.ttl(store.key(live, "meta"))
    if 0 <= left < store.seconds_to_live / 2:
        contents.extend(store, live)
        store.client.expire(store.pointer, store.seconds_to_live)


def _remove_old(store: Store, keep: int) -> None:
    """Removes all but the last ones that were live, and whatever was left half-written."""
    try:
        known, live = states(store), live_name(store)
        since = {name: at for name, state in known.items() if (at := whole_since(state)) is not None}
        # The live one first, then by when they were.
        ranked = sorted(since, key=lambda name: (name == live, since[name], number_of(name)), reverse=True)
        for name in known.keys() - set(ranked[:keep]):
            recent = name in since and now(store) - since[name] < GRACE_SECONDS * 1000
            written = is_writing(known[name]) and store.client.exists(store.key(name, "writing"))
            if recent or written or live_name(store) == name:
                continue
            # First the state: a kill in the middle must not leave one that looks whole and has holes.
            if change_state(store, name, known[name], REMOVING):
                contents.remove(store, name)
                change_state(store, name, REMOVING, None)
    except FAULTS as error:
        logger.warning("Older publications were not removed (%s); the next publication does it.", error)
