"""Which keys are read, and what the replies mean. `clients` sends the commands.

A page makes many reads, and each costs a few microseconds of this code besides the network. So the path for a customer
with a list is short; the rare cases are in functions of their own.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ncf_pipeline.columns import (
    BUY_AGAIN,
    EVERYWHERE,
    FOR_YOU,
    LISTS_OF,
    Audience,
    chances_of,
    due_of,
    reasons_of,
)
from ncf_pipeline.storefront.answers import (
    Recommendation,
    Source,
    Statistics,
    chances_in,
    days_in,
    is_text,
    reasons_in,
    stock_codes_of,
)

HOLD_SECONDS = 1.0
"""The number of the live publication is held this long, and after a failure Redis is not asked for this long."""

_STOOD_STILL_SECONDS = 5.0
"""A number held for less than this still has its lists: publishers keep them for ten seconds after they were live."""

Command = tuple[str, ...]
Fallback = dict[str, tuple[str, ...]]  # stock codes by list

_OF_FALLBACK = LISTS_OF["fallback"]
_PUBLICATION = re.compile(r"p[0-9]{1,18}")


_CHANCES = {FOR_YOU: chances_of(FOR_YOU), BUY_AGAIN: due_of(BUY_AGAIN)}
"""By list, the field with its chances, or with the days by which its products are due."""


class Broken:
    """Stands for the reply to a command that asks a key for what its type does not have."""


BROKEN = Broken()


class Question(NamedTuple):
    """The lists that a page asks for, and their fallback."""

    names: tuple[str, ...]  # of the lists
    source: Source = "none"  # of an own list
    key: str | None = None  # of the own lists; None for a visitor, and for what cannot be an id
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
    return Question((list_name,), "customer", _key("customer", customer_id), FOR_YOU, _country(country))


def all_of_customer(customer_id: int | str, country: str | None) -> Question:
    """All lists of a customer; best sellers in place of each that is missing."""
    return Question(LISTS_OF["customer"], "customer", _key("customer", customer_id), FOR_YOU, _country(country))


def of_visitor(list_name: str, country: str | None) -> Question:
    """A list for an unknown visitor.

    Raises:
        ValueError: visitors have no list of that name.
    """
    _check("fallback", list_name)
    return Question((list_name,), fallback=list_name, country=_country(country))


def of_product(stock_code: str, list_name: str) -> Question:
    """A list of a product, without a fallback.

    Raises:
        ValueError: products have no list of that name.
    """
    _check("product", list_name)
    return Question((list_name,), "product", _key("product", stock_code))


def _key(audience: Audience, named: object) -> str | None:
    """A key without its start; None if no id can be what the page passed.

    >>> _key("customer", 14646), _key("customer", 14646.0), _key("customer", float("nan")), _key("customer", None)
    ('customer:14646', 'customer:14646', None, None)
    """
    if type(named) is not str and type(named) is not int:
        named = _id_of(named)
    key = f"{audience}:{named}"
    return key if named is not None and (key.isascii() or is_text(key)) else None


def _id_of(named: object) -> str | None:
    """An id of another type: of a table, whose numbers may have become floats, or a UUID.

    Args:
        named: what the page passed.

    Returns:
        None for what is no id: None, NaN, a number with a fraction, bytes, a list.
    """
    if named is None or isinstance(named, bool | bytes | bytearray | list | tuple | dict | set):
        return None
    try:
        number = int(named) if hasattr(named, "__float__") else None  # type: ignore[call-overload]
        return str(named if number is None else number) if number is None or number == named else None
    except Exception:  # NaN, infinity, and whatever an object raises that is asked for its text
        return None


def _country(named: object) -> str | None:
    """A country whose name may be asked for; None for anything else, such as the NaN of a table."""
    return named if isinstance(named, str) and (named.isascii() or is_text(named)) else None


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

    def __init__(self, prefix: str, *, reasons: bool, chances: bool, raise_errors: bool) -> None:
        self._prefix = prefix
        self._pointer = f"{prefix}:current"
        self._reasons = reasons
        self._chances = chances
        self._raise_errors = raise_errors
        self._held: Held | None = None
        self._left_alone_until = 0.0
        self._met = Counter[str]()
        self._counting = threading.Lock()

    @property
    def statistics(self) -> Statistics:
        """How often this client met something that it could not use."""
        with self._counting:
            return Statistics(**self._met)

    def _count(self, what: str) -> None:
        with self._counting:
            self._met[what] += 1

    def _is_left_alone(self) -> bool:
        return self._left_alone_until > 0 and not self._raise_errors and time.monotonic() < self._left_alone_until

    def _fail(self, error: Exception) -> None:
        self._count("failures")
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
        if name is not None and not (isinstance(name, str) and _PUBLICATION.fullmatch(name)):
            self._count("broken_pointers")
            name = before.name if before is not None else None
        fallbacks = before.fallbacks if before is not None and before.name == name else {}
        self._held = Held(self._prefix, name, fallbacks) if name is not None else None
        return self._held

    def _commands(self, question: Question, held: Held) -> list[Command]:
        """The commands of one round trip: the fallbacks that are not held yet, then the own lists."""
        names, _, key, fallback, country = question
        commands: list[Command] = []
        if fallback is not None:
            known = held.fallbacks
            if country and country not in known:
                commands.append(("HMGET", f"{held.start}fallback:{country}", *_OF_FALLBACK))
            if EVERYWHERE not in known and country != EVERYWHERE:
                commands.append(("HMGET", f"{held.start}fallback:{EVERYWHERE}", *_OF_FALLBACK))
        if key is not None:
            if (beside := self._beside(question)) is not None:
                commands.append(("HMGET", held.start + key, *names, *beside))
            elif len(names) == 1:
                # A single value is parsed faster than a list of one.
                commands.append(("HGET", held.start + key, names[0]))
            else:
                commands.append(("HMGET", held.start + key, *names))
        return commands

    def _beside(self, question: Question) -> list[str] | None:
        """The fields that are read beside a customer's lists; None if there are none."""
        names = question.names
        if question.source != "customer" or not (self._reasons or self._chances):
            return None
        reasons = [*map(reasons_of, names)] if self._reasons else []
        return reasons + [_CHANCES[name] for name in names if name in _CHANCES] if self._chances else reasons

    def _answers(
        self, question: Question, held: Held, commands: Sequence[Command], replies: Sequence[Any]
    ) -> list[Recommendation]:
        if len(commands) > (question.key is not None):
            self._hold_fallbacks(held, commands, replies)
        own = replies[-1] if question.key is not None else None
        if own is None or own is BROKEN:
            if own is BROKEN:
                self._count("broken_lists")
            elif question.key is None and question.source != "none":
                self._count("unusable_ids")
            return [_fallback(question, held)] * len(question.names)
        if commands[-1][0] == "HGET":
            return [self._own(question, question.names[0], own, None, held.name) or _fallback(question, held)]
        number = len(question.names)
        why = own[number : 2 * number] if self._reasons and question.source == "customer" else (None,) * number
        answers = [
            self._own(question, name, text, because, held.name) or _fallback(question, held)
            for name, text, because in zip(question.names, own, why, strict=False)
        ]
        if self._chances and question.source == "customer":
            texts = iter(own[2 * number if self._reasons else number :])
            answers = [
                self._with_chances(name, answer, next(texts)) if name in _CHANCES else answer
                for name, answer in zip(question.names, answers, strict=True)
            ]
        return answers

    def _hold_fallbacks(self, held: Held, commands: Sequence[Command], replies: Sequence[Any]) -> None:
        start = f"{held.start}fallback:"
        for (_, key, *_), reply in zip(commands, replies, strict=True):
            if key.startswith(start):
                texts = zip(_OF_FALLBACK, reply, strict=True) if reply is not BROKEN else ((FOR_YOU, BROKEN),)
                lists = {name: codes for name, text in texts if text is not None and (codes := self._list(text))}
                if lists:  # unknown countries must not fill the memory
                    held.fallbacks[key.removeprefix(start)] = lists

    def _list(self, text: Any) -> tuple[str, ...] | None:
        """The stock codes in a value; None if it is broken, which is counted."""
        stock_codes = stock_codes_of(text)
        if stock_codes is None:
            self._count("broken_lists")
        return stock_codes

    def _own(
        self, question: Question, name: str, text: str | None, why: str | None, publication: str
    ) -> Recommendation | None:
        if text is None or (stock_codes := self._list(text)) is None:
            return None
        # An empty buy_again is an answer: the customer has nothing to buy again. Other lists have a fallback.
        if not stock_codes and question.fallback is not None and name != BUY_AGAIN:
            return None
        if why is None:
            return Recommendation(stock_codes, question.source, publication)
        reasons = reasons_in(why, len(stock_codes))
        if reasons is None:
            self._count("broken_reasons")
        return Recommendation(stock_codes, question.source, publication, reasons or ())

    def _with_chances(self, name: str, answer: Recommendation, text: str | None) -> Recommendation:
        """An own list with its chances or days; a fallback as it is."""
        if text is None or answer.source != "customer":
            return answer
        count = len(answer.stock_codes)
        if name == FOR_YOU:
            chances = chances_in(text, count)
            if chances is not None:
                return replace(answer, chances=chances)
        else:
            due = days_in(text, count)
            if due is not None:
                return replace(answer, due=due)
        self._count("broken_chances")
        return answer

    def _meta(self, reply: Any) -> Mapping[str, str]:
        """The fields of a meta that can be read."""
        if reply is BROKEN:
            self._count("broken_meta")
            return {}
        fields = {name: text for name, text in reply.items() if is_text(name) and is_text(text)}
        if len(fields) < len(reply):
            self._count("broken_meta")
        return fields

    def _stood_still(self, question: Question, held: Held, answers: Sequence[Recommendation]) -> bool:
        """Whether the process was stopped for so long that the held publication may have been removed."""
        return (
            any(entry.source != question.source for entry in answers)
            and time.monotonic() > held.until + _STOOD_STILL_SECONDS
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
