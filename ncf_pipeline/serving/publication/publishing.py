"""Publishing and flipping back: the order of steps in which shoppers always see one complete set of lists.

A number goes through these states. Each change is made only if no other process made one before:

    writing → whole (→ live → whole ...) → removing → gone
       └──────────────────────────────────────↗

- A publisher that is killed leaves its number in the state `writing`, without a sign of life. The next publisher
  removes it. It is always safe to publish again, with a new number or with the same one.
- Two publishers at once write under two numbers. In the end the higher number is live, whichever finishes first. If the
  lower one finishes last, it fails.
- `flip` calls off every publication that is being written, so that it does not undo the rollback a minute later. A
  publisher may have read the champion just before the registry changed, and begun to write just after the flip: `hold`
  calls it off.
- A publication that was live a moment ago stays, beyond the number of kept publications, for readers that hold it.
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

from ncf_pipeline.errors import ArtifactError, GoneError, InputError, ListStoreError, ListStoreUnavailableError
from ncf_pipeline.serving.publication import contents, room
from ncf_pipeline.serving.publication.functions import load_into
from ncf_pipeline.serving.publication.keys import AnyLists
from ncf_pipeline.serving.publication.presence import GroupsOf, Presence, look_for_keys
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
"""A publisher counts as alive for this long after its last sign of life."""

PATIENCE_SECONDS = ALIVE_SECONDS + 5
"""A publisher waits this long for another one that holds its number. The sign of a killed one has expired by then."""

GRACE_SECONDS = 10
"""A publication that was live stays at least this long, because readers hold its number for about a second."""


@dataclass(frozen=True)
class Published:
    """A publication that was made live.

    Attributes:
        number: of the publication.
        keys: number of keys by audience.
        seconds: that publishing took.
    """

    number: int
    keys: dict[str, int]
    seconds: float


def publish(
    settings: Settings,
    lists: Iterable[AnyLists],
    *,
    number: int | None = None,
    meta: Mapping[str, Any],
    before: tuple[int, Iterable[AnyLists]] | None = None,
) -> Published:
    """Writes all lists under a new number, checks them by reading them back, and makes them live.

    Args:
        settings: where to write, how long keys live, how many publications stay.
        lists: batches of Arrow, or frames, with the columns of `columns.Lists`; the rows of one key are next to each
            other. They are read one by one, so millions of customers need no more memory than one of them.
        number: of the publication, higher than that of the live one; None takes the next number.
        meta: fields of `ncf:pNNNNNN:meta`. `customers` and `products` are counted here; `published_at` is now if it is
            missing.
        before: number and lists of an earlier publication. Keys that would be the same are copied from it, if the list
            store holds it and the lists can still be read.

    Returns:
        The number, the keys written and the seconds taken.

    Raises:
        InputError: the lists cannot be a publication. The previous lists stay live.
        ListStoreError: Redis refused, what was read back differs, a higher number went live meanwhile, or a rollback
            called this publication off. The previous lists stay live.
    """
    started = time.monotonic()
    with connected(settings, "the publication was not made live") as store:
        _extend_the_live_one(store)
        _remove_old(store, settings.keep_publications)  # now too, because the new one needs the memory
        _refuse_without_room(settings, store, meta)
        load_into(store)
        name = name_of(next_number(store) if number is None else _checked(store, number))
        mine = writing(uuid.uuid4().hex)
        with _sign_of_life(store, name):
            _open(store, name, mine)
            try:
                copied = _earlier(store, before) if before is not None else None
                written = contents.write(store, name, lists, lambda: _refuse_unless_mine(store, name, mine), copied)
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
    if written.copied:
        logger.info("%s: %d of %d keys were copied, as before.", name, written.copied, written.keys.total())
    return Published(number_of(name), dict(written.keys), time.monotonic() - started)


def _earlier(store: Store, before: tuple[int, Iterable[AnyLists]]) -> contents.Earlier | None:
    """What can be copied from an earlier publication; None if it is not held or not read, or if no key is copied."""
    number, lists = before
    name = name_of(number)
    if whole_since(states(store).get(name)) is None:
        return None
    try:
        return contents.earlier(store, name, lists)
    except (ArtifactError, InputError) as error:  # what is published now has been read from another file
        logger.info("All keys are written, as what %s was made from cannot be read: %s", name, error)
        return None


def _refuse_without_room(settings: Settings, store: Store, meta: Mapping[str, Any]) -> None:
    """Refuses to begin what would fill the memory, and perhaps push out what is live."""
    seen = room.look(store, settings.keep_publications, meta, without=room.left_out(settings))
    for line in seen.unseen:
        logger.info("Before publishing, this could not be seen: %s.", line)
    if seen.evicts:
        logger.warning("%s", seen.evicts)
    if seen.is_full:
        raise ListStoreUnavailableError(f"The publication was not begun: {seen.is_full} The previous lists stay live.")


def flip(settings: Settings, number: int) -> None:
    """Makes a publication live that Redis still holds, and calls off every one that is being written.

    It does not renew the publication's time to live, because shoppers wait: call `renew` afterwards.

    Raises:
        GoneError: Redis does not hold the publication, or not all of it. The live lists stay live.
        ListStoreError: Redis cannot be reached, or refused.
    """
    name = name_of(number)
    with connected(settings, f"{name} was not made live") as store:
        state = states(store).get(name)
        gone = GoneError(f"{name} is not in Redis any more: publish its lists again. The live lists stay live.")
        if (
            whole_since(state) is None
            or not store.client.exists(store.key(name, "meta"))
            or contents.missing(store, name)
        ):
            raise gone
        call_off(store, f"{name} is made live", but=name)
        # A publication that was whole a moment ago is never removed.
        if not change_state(store, name, state, whole(now(store))):
            raise gone
        _point_to(store, name)


def hold(settings: Settings, number: int) -> bool:
    """Calls off publications that were begun since a flip; if one is already live, flips back again.

    Returns:
        Whether it had to flip back.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    name = name_of(number)
    with connected(settings, f"{name} may not be live any more") as store:
        call_off(store, f"{name} is made live", but=name)
        return _point_to(store, name)


def renew(settings: Settings, number: int) -> None:
    """Sets a publication's time to live to that of a new one.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    name = name_of(number)
    so = f"{name} is live, but its lists expire when they did before. Run the command again."
    with connected(settings, f"the time to live of {name} was not renewed", so=so) as store:
        contents.extend(store, name)
        if live_name(store) == name:
            store.client.expire(store.pointer, store.seconds_to_live)


def live_publication(settings: Settings) -> dict[str, str] | None:
    """The live publication's meta with its `name`; None before the first."""
    with connected(settings, "the live publication is not known") as store:
        name = live_name(store)
        if name is None:
            return None
        meta: Any = store.client.hgetall(store.key(name, "meta"))
    return {"name": name, **{field.decode(): value.decode() for field, value in meta.items()}}


def memory(settings: Settings) -> room.Room:
    """Whether Redis may remove lists by itself, and whether the next publication will find memory.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    with connected(settings, "its memory is not known") as store:
        return room.look(store, settings.keep_publications, without=room.left_out(settings))


def present_keys(settings: Settings, groups_of: GroupsOf) -> Presence | None:
    """Which keys of the live publication are still there, by a sample of each group; None if nothing is live.

    Args:
        settings: where the list store is.
        groups_of: names the group of each key, from its audience and the ids of some keys.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
    """
    with connected(settings, "the live lists were not looked for") as store:
        return look_for_keys(store, groups_of)


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
        raise ListStoreUnavailableError(
            f"{name} was not made live: {live} is live, and is not older. Nothing changed for shoppers."
        )


def _refuse_unless_mine(store: Store, name: str, mine: str) -> None:
    if states(store).get(name) != mine:
        raise ListStoreUnavailableError(
            f"{name} was not made live: it was called off by a rollback, or another process took it over. "
            "Nothing changed for shoppers."
        )


@contextmanager
def _sign_of_life(store: Store, name: str) -> Iterator[None]:
    """Shows other publishers that this one is alive, even if it waits for lists for a long time.

    Raises:
        ListStoreError: another process writes the same publication, and is alive.
    """
    key, mine = store.key(name, "writing"), uuid.uuid4().hex
    patience = time.monotonic() + PATIENCE_SECONDS
    while not store.client.set(key, mine, nx=True, ex=ALIVE_SECONDS):
        if time.monotonic() > patience:
            raise ListStoreUnavailableError(
                f"{name} is being written by another process. The previous lists stay live."
            )
        time.sleep(0.5)
    done = threading.Event()

    def show() -> None:
        while not done.wait(ALIVE_SECONDS / 3):
            # If Redis fails here, it fails for the publisher too, which reports it.
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
        with suppress(*FAULTS):  # the key expires by itself
            if store.client.get(key) == mine.encode():
                store.client.unlink(key)


def _open(store: Store, name: str, mine: str) -> None:
    """Takes a number, and first removes what a killed publisher left under it."""
    state = states(store).get(name)
    if state is not None:
        logger.info("%s was begun before. It is written again from the start.", name)
        change_state(store, name, state, REMOVING)
        contents.remove(store, name)
        change_state(store, name, REMOVING, None)
    if not change_state(store, name, None, mine):
        raise ListStoreUnavailableError(f"{name} is being written by another process. The previous lists stay live.")


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
        # This process was stopped for so long that others began to remove what it had just finished.
        move_pointer(store, name, live)
        raise ListStoreUnavailableError(
            f"{name} was not made live: others took it for abandoned. The previous lists stay live."
        )


def call_off(store: Store, because: str, *, but: str | None = None) -> None:
    """Lets no publication go live that is being written now.

    Args:
        store: in which they are written.
        because: why, as a main clause.
        but: the name of one that may.
    """
    for other, state in states(store).items():
        if other != but and is_writing(state) and change_state(store, other, state, REMOVING):
            logger.warning("%s was being written and is called off, because %s.", other, because)


def _point_to(store: Store, name: str) -> bool:
    """Makes a publication live, whichever is live now; returns False if it was live already."""
    moved = False
    while (live := live_name(store)) != name:
        if live is not None:
            retire(store, live)
        moved = move_pointer(store, live, name)
    return moved


def _move_forward(store: Store, live: str | None, name: str) -> str | None:
    """Makes a publication live and returns the previous one.

    Raises:
        ListStoreError: a newer one is live, or a rollback happened meanwhile.
    """
    while True:
        if live is not None:
            retire(store, live)
        if move_pointer(store, live, name):
            return live
        before, live = live, live_name(store)
        _refuse_unless_newer(name, live)
        if before is not None and (live is None or number_of(live) < number_of(before)):
            raise ListStoreUnavailableError(
                f"{name} was not made live: a rollback made {live} live. Nothing changed for shoppers."
            )


def _drop(store: Store, name: str, mine: str) -> None:
    """Removes what failed, at once, because it may have failed for want of memory."""
    with suppress(*FAULTS):  # then the next publisher removes it
        if (state := states(store).get(name)) in (mine, REMOVING):
            # The keys first: a full Redis accepts removals, but no changes.
            contents.remove(store, name)
            change_state(store, name, state, None)


def _extend_the_live_one(store: Store) -> None:
    """Renews the live publication after half of its time to live, in case the new publication fails."""
    live = live_name(store)
    if live is None:
        return
    left: Any = store.client.ttl(store.key(live, "meta"))
    if 0 <= left < store.seconds_to_live / 2:
        contents.extend(store, live)
        store.client.expire(store.pointer, store.seconds_to_live)


def _remove_old(store: Store, keep: int) -> None:
    """Removes all but the last publications that were live, and everything that killed publishers left."""
    try:
        known, live = states(store), live_name(store)
        since = {name: at for name, state in known.items() if (at := whole_since(state)) is not None}
        # An instant in the future says that Redis' clock was ahead then. Nobody knows when it was: it counts from now.
        ahead = {name for name, at in since.items() if at > now(store)}
        for name in ahead:
            since[name] = now(store)
            if change_state(store, name, known[name], whole(since[name])):
                known[name] = whole(since[name])
        # The live one first, then the most recently live.
        ranked = sorted(
            since, key=lambda name: (name == live, name not in ahead, since[name], number_of(name)), reverse=True
        )
        for name in known.keys() - set(ranked[:keep]):
            recent = name in since and now(store) - since[name] < GRACE_SECONDS * 1000
            written = is_writing(known[name]) and store.client.exists(store.key(name, "writing"))
            if recent or written or live_name(store) == name:
                continue
            # The state first: a kill in the middle must not leave a publication that looks whole and has holes.
            if change_state(store, name, known[name], REMOVING):
                contents.remove(store, name)
                change_state(store, name, REMOVING, None)
    except FAULTS as error:
        logger.warning("Older publications were not removed: %s. The next publisher removes them.", error)
