"""Which keys are read, and what the replies mean. `clients` sends the commands.

A page makes many reads, and each costs a few microseconds of this code besides the network. So the path for a customer
with a list is short; the rare cases are in functions of their own.
"""

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ncf_pipeline.columns import BUY_AGAIN, EVERYWHERE, FOR_YOU, LISTS_OF, Audience, reasons_of
from ncf_pipeline.storefront.answers import Recommendation, Source, reasons

HOLD_SECONDS = 1.0
"""The number of the live publication is held this long, and after a failure Redis is not asked for this long."""

_STOOD_STILL_SECONDS = 5.0
"""A number held for less than this still has its lists: publishers keep them for ten seconds after they were live."""

Command = tuple[str, ...]
Fallback = dict[str, tuple[str, ...]]  # stock codes by list

_decode = json.JSONDecoder().raw_decode
_OF_FALLBACK = LISTS_OF["fallback"]


class Question(NamedTuple):
    """The lists that a page asks for, and their fallback."""

    names: tuple[str, ...]  # of the lists
    source: Source = "none"  # of an own list
    key: str | None = None  # of the own lists; None for a visitor
    fallback: str | None = None  # name of the list, of a country or of everywhere, that replaces a missing one
    country: str | None = None


def of_customer(customer_id: int | str, list_name: str, country: str | None) -> Question:
    """One list of a customer, else best sellers.

    Args:
        customer_id: the shop's.
        list_name: of the list.
        country: whose best sellers replace a missing list; None: those of everywhere.

    Raises:
        ValueError: customers have no list of that name.
    """
    _check("customer", list_name)
    return Question((list_name,), "customer", f"customer:{customer_id}", FOR_YOU, country)


def all_of_customer(customer_id: int | str, country: str | None) -> Question:
    """All lists of a customer; best sellers in place of each that is missing."""
    return Question(LISTS_OF["customer"], "customer", f"customer:{customer_id}", FOR_YOU, country)


def of_visitor(list_name: str, country: str | None) -> Question:
    """A list for an unknown visitor.

    Raises:
        ValueError: visitors have no list of that name.
    """
    _check("fallback", list_name)
    return Question((list_name,), fallback=list_name, country=country)


def of_product(stock_code: str, list_name: str) -> Question:
    """A list of a product, without a fallback.

    Raises:
        ValueError: products have no list of that name.
    """
    _check("product", list_name)
    return Question((list_name,), "product", f"product:{stock_code}")


def _check(audience: Audience, list_name: str) -> None:
    if list_name not in LISTS_OF[audience]:
        raise ValueError(f"there is no {audience} list {list_name!r}; choose one of {', '.join(LISTS_OF[audience])}")


class Held:
    """The publication that was live at most `HOLD_SECONDS` ago, and its fallbacks, which all readers share."""

    __slots__ = ("fallbacks", "name", "start", "until")

    def __init__(self, prefix: str, name: str, fallbacks: dict[str, Fallback]) -> None:
        self.name = name
        self.start = f"{prefix}:{name}:"  # of its keys
        self.until = time.monotonic() + HOLD_SECONDS
        # By country. They stay valid, because nothing under a publication's number ever changes.
        self.fallbacks = fallbacks


class Reader:
    """The part that the sync and the async client share."""

    def __init__(self, prefix: str, *, reasons: bool, raise_errors: bool) -> None:
        self._prefix = prefix
        self._pointer = f"{prefix}:current"
        self._reasons = reasons
        self._raise_errors = raise_errors
        self._held: Held | None = None
        self._left_alone_until = 0.0

    def _is_left_alone(self) -> bool:
        return self._left_alone_until > 0 and not self._raise_errors and time.monotonic() < self._left_alone_until

    def _fail(self, error: Exception) -> None:
        if self._raise_errors:
            raise error
        self._held = None
        self._left_alone_until = time.monotonic() + HOLD_SECONDS

    def _live(self) -> Held | None:
        """The live publication, unless it was read too long ago."""
        held = self._held
        return held if held is not None and time.monotonic() < held.until else None

    def _hold(self, name: Any) -> Held | None:
        before = self._held
        fallbacks = before.fallbacks if before is not None and before.name == name else {}
        self._held = Held(self._prefix, name, fallbacks) if name is not None else None
        return self._held

    def _commands(self, question: Question, held: Held) -> list[Command]:
        """The commands of one round trip: the fallbacks that are not held yet, then the own lists."""
        names, source, key, fallback, country = question
        commands: list[Command] = []
        if fallback is not None:
            known = held.fallbacks
            if country and country not in known:
                commands.append(("HMGET", f"{held.start}fallback:{country}", *_OF_FALLBACK))
            if EVERYWHERE not in known and country != EVERYWHERE:
                commands.append(("HMGET", f"{held.start}fallback:{EVERYWHERE}", *_OF_FALLBACK))
        if key is not None:
            if self._reasons and source == "customer":
                commands.append(("HMGET", held.start + key, *names, *map(reasons_of, names)))
            elif len(names) == 1:
                # A single value is parsed faster than a list of one.
                commands.append(("HGET", held.start + key, names[0]))
            else:
                commands.append(("HMGET", held.start + key, *names))
        return commands

    def _answers(
        self, question: Question, held: Held, commands: Sequence[Command], replies: Sequence[Any]
    ) -> list[Recommendation]:
        if len(commands) > (question.key is not None):
            self._hold_fallbacks(held, commands, replies)
        if question.key is None:
            return [_fallback(question, held)]
        if commands[-1][0] == "HGET":
            return [_own(question, question.names[0], replies[-1], None, held.name) or _fallback(question, held)]
        own = replies[-1]
        why = own[len(question.names) :] or (None,) * len(own)
        return [
            _own(question, name, text, because, held.name) or _fallback(question, held)
            for name, text, because in zip(question.names, own, why, strict=False)
        ]

    def _hold_fallbacks(self, held: Held, commands: Sequence[Command], replies: Sequence[Any]) -> None:
        start = f"{held.start}fallback:"
        for (_, key, *_), reply in zip(commands, replies, strict=True):
            if key.startswith(start):
                lists = {name: tuple(json.loads(text)) for name, text in zip(_OF_FALLBACK, reply, strict=True) if text}
                if lists:  # unknown countries must not fill the memory
                    held.fallbacks[key.removeprefix(start)] = lists

    def _stood_still(self, question: Question, held: Held, answers: Sequence[Recommendation]) -> bool:
        """Whether the process was stopped for so long that the held publication may have been removed."""
        return (
            any(entry.source != question.source for entry in answers)
            and time.monotonic() > held.until + _STOOD_STILL_SECONDS
        )


def _own(question: Question, name: str, text: str | None, why: str | None, publication: str) -> Recommendation | None:
    if text is None:
        return None
    stock_codes = tuple(_decode(text)[0])
    # An empty buy_again is an answer: the customer has nothing to buy again. Other lists have a fallback.
    if not stock_codes and question.fallback is not None and name != BUY_AGAIN:
        return None
    return Recommendation(
        stock_codes, question.source, publication, reasons(why, len(stock_codes)) if why is not None else ()
    )


def _fallback(question: Question, held: Held) -> Recommendation:
    if question.fallback is not None:
        for key in (question.country, EVERYWHERE):
            stock_codes = held.fallbacks.get(key, {}).get(question.fallback) if key else None
            if stock_codes:
                return Recommendation(stock_codes, "everywhere" if key == EVERYWHERE else "country", held.name)
    return Recommendation((), "none", held.name)


def unanswered(question: Question, source: Source) -> list[Recommendation]:
    """An empty list for each one in a question."""
    return [Recommendation((), source, None) for _ in question.names]
