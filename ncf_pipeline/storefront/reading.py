"""Which keys are read, and what the replies mean. `clients` sends the commands.

A page makes many reads, and each costs a few microseconds of this code besides the network. So the path for a customer
with a list is short; the rare cases are in functions of their own.
"""

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from ncf_pipeline.columns import (
    BEST_SELLER,
    BUY_AGAIN,
    EVERYWHERE,
    FOR_YOU,
    LISTS_OF,
    MOST_EVENTS_WAITING,
    SIMILAR,
    Events,
    chances_of,
    due_of,
    reasons_of,
)
from ncf_pipeline.storefront.answers import (
    Reason,
    Recommendation,
    Source,
    Statistics,
    chances_in,
    days_in,
    is_text,
    reasons_in,
    stock_codes_of,
)
from ncf_pipeline.storefront.asking import Ask, Question, View, code_of, key_of

HOLD_SECONDS = 1.0
"""The number of the live publication, and what is hidden, are held this long. After a failure Redis is not asked for
this long."""

ROTATION_REACH = 5
"""A rotation moves no product by as many places."""

_STOOD_STILL_SECONDS = 5.0
"""A number held for less than this still has its lists: publishers keep them for ten seconds after they were live."""

MOST_COUNTRIES = 1000
"""Countries whose hidden products are held: a shop that passes on what a visitor types must not fill the memory."""

MOST_CATEGORIES = 1000
"""Categories whose products are held, likewise."""

_BASKET_EASE = 1
"""In a basket, the product at place p of a list counts 1 / (p + this), from p = 1."""

_OWN_WEIGHT = 2.0
"""How much the customer's own list counts beside the list of one product in the basket."""

MOST_DISMISSED = 500
"""Products that one customer may have dismissed at once; those that come back first fall out."""

MOST_DAYS = 3650

_DISMISS = """
redis.call('zadd', KEYS[1], ARGV[2], ARGV[1])
redis.call('zremrangebyscore', KEYS[1], '-inf', ARGV[3])
redis.call('zremrangebyrank', KEYS[1], 0, -1 - ARGV[4])
redis.call('expireat', KEYS[1], redis.call('zrange', KEYS[1], -1, -1, 'withscores')[2])
return 1
"""
# One step, so that no key that names a customer is ever without an end.

Command = tuple[str, ...]
Fallback = dict[str, tuple[str, ...]]  # stock codes by list
Places = slice | list[int]
_OF_FALLBACK = LISTS_OF["fallback"]
_OF_CATEGORY = LISTS_OF["category"]
_PUBLICATION = re.compile(r"p[0-9]{1,18}")
_NOTHING: frozenset[str] = frozenset()
_UNKNOWN = 0  # of `Held.shown`

_CHANCES = {FOR_YOU: chances_of(FOR_YOU), BUY_AGAIN: due_of(BUY_AGAIN)}
"""By list, the field with its chances, or with the days by which its products are due."""

_OPTIONAL = ("ZRANGEBYSCORE", "SMEMBERS")
"""Commands that ask what is hidden or dismissed. A reader without permission for them still gets lists."""


class Broken:
    """Stands for the reply to a command that asks a key for what its type does not have."""


BROKEN = Broken()


class Category:
    """The products of a category.

    Attributes:
        best: those that anybody may be shown, best sellers first.
        codes: all of them.
    """

    __slots__ = ("best", "codes")

    def __init__(self, best: tuple[str, ...], others: tuple[str, ...]) -> None:
        self.best = best
        self.codes = frozenset(best).union(others)

    def intersection(self, stock_codes: Iterable[str]) -> set[str]:
        """Of some stock codes, those that are not shown: all that are not of the category."""
        return {code for code in stock_codes if code not in self.codes}


_BEST_SELLER = Reason(BEST_SELLER)
_NO_CATEGORY = Category((), ())  # nothing is of it

Out = list[set[str] | frozenset[str] | Category]
"""Sets of stock codes that are not shown; none of them is empty. A category stands for all products but its own."""


class Held:
    """What was live and hidden at most `HOLD_SECONDS` ago, and the publication's fallbacks. All readers share it.

    Attributes:
        name: of the publication.
        start: of its keys.
        until: the instant up to which it is held.
        fallbacks: by country. They stay valid, because nothing under a publication's number ever changes.
        categories: those that were asked for and that there are, likewise.
        shown: products that a list shows; None: all of them.
        hidden: stock codes that nobody is shown.
        hidden_in: by country, those that only its customers are not shown.
        dismissing: whether any customer ever dismissed a product, so that reading needs to ask for it.
    """

    __slots__ = ("categories", "dismissing", "fallbacks", "hidden", "hidden_in", "name", "shown", "start", "until")

    def __init__(self, prefix: str, name: str, before: "Held | None") -> None:
        self.name = name
        self.start = f"{prefix}:{name}:"
        self.until = time.monotonic() + HOLD_SECONDS
        same = before is not None and before.name == name
        self.fallbacks: dict[str, Fallback] = before.fallbacks if before is not None and same else {}
        self.categories: dict[str, Category] = before.categories if before is not None and same else {}
        self.shown: int | None = before.shown if before is not None and same else _UNKNOWN
        self.hidden: frozenset[str] = before.hidden if before is not None else _NOTHING
        self.hidden_in: dict[str, frozenset[str]] = {}
        self.dismissing: bool = before.dismissing if before is not None else False


class Reader:
    """The part that the sync and the async client share."""

    def __init__(self, prefix: str, *, reasons: bool, chances: bool, whole: bool, raise_errors: bool) -> None:
        self._prefix = prefix
        self._pointer = f"{prefix}:current"
        self._reasons = reasons
        self._chances = chances
        self._whole = whole
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

    def _refuse(self, error: Exception) -> None:
        """Counts what could not be written. Reading goes on: a user who may not write still may read."""
        self._count("failures")
        if self._raise_errors:
            raise error

    def _live(self) -> Held | None:
        """The live publication, unless it was read too long ago."""
        held = self._held
        return held if held is not None and time.monotonic() < held.until else None

    def _state(self) -> list[Command]:
        """The commands that ask what is live, and what is hidden from everybody."""
        if self._whole:
            return [("GET", self._pointer)]
        return [
            ("GET", self._pointer),
            _members(f"{self._prefix}:hidden"),
            ("SMEMBERS", f"{self._prefix}:sold_out"),
            ("GET", f"{self._prefix}:dismissing"),
        ]

    def _hold(self, replies: Sequence[Any]) -> Held | None:
        name, before = replies[0], self._held
        if name is not None and not (isinstance(name, str) and _PUBLICATION.fullmatch(name)):
            self._count("broken_pointers")
            name = before.name if before is not None else None
        if name is None:
            self._held = None
            return None
        held = Held(self._prefix, name, before)
        if self._whole:
            held.shown = None
        else:
            _, hidden, sold_out, dismissing = replies
            if hidden is BROKEN or sold_out is BROKEN:
                self._count("broken_hidden")
                # What was hidden stays hidden, rather than come back by an accident.
                readable = [reply for reply in (hidden, sold_out) if reply is not BROKEN]
                held.hidden = frozenset(held.hidden).union(*readable)
            else:
                held.hidden = frozenset(hidden).union(sold_out) if hidden or sold_out else _NOTHING
            held.dismissing = dismissing is not None and dismissing is not BROKEN
        self._held = held
        return held

    def _commands(self, ask: Ask, held: Held) -> list[Command]:
        """The commands of one round trip: what is not held yet, then one for each question that has a key."""
        questions, _, country, customer, *_ = ask
        commands: list[Command] = []
        if not self._whole:
            if held.shown == _UNKNOWN:
                commands.append(("HGET", f"{held.start}meta", "top_n"))
            if country and country not in held.hidden_in:
                commands.append(_members(f"{self._prefix}:hidden:{country}"))
            if held.dismissing and customer is not None:
                commands.append(_members(f"{self._prefix}:dismissed:{customer}"))
        for question in questions:
            if question.fallback is not None:
                known = held.fallbacks
                if country and country not in known:
                    commands.append(("HMGET", f"{held.start}fallback:{country}", *_OF_FALLBACK))
                if EVERYWHERE not in known and country != EVERYWHERE:
                    commands.append(("HMGET", f"{held.start}fallback:{EVERYWHERE}", *_OF_FALLBACK))
                break
        category = ask.view.category
        if category is not None and category not in held.categories:
            commands.append(("HMGET", f"{held.start}category:{category}", *_OF_CATEGORY))
        for question in questions:
            names, key = question.names, question.key
            if key is not None:
                beside = self._beside(question) if ask.basket is None else None
                if beside is not None:
                    commands.append(("HMGET", held.start + key, *names, *beside))
                elif len(names) == 1:
                    # A single value is parsed faster than a list of one.
                    commands.append(("HGET", held.start + key, names[0]))
                else:
                    commands.append(("HMGET", held.start + key, *names))
        return commands

    def _beside(self, question: Question) -> list[str] | None:
        """The fields that are read beside lists; None if there are none."""
        names = question.names
        if question.source == "product":
            return [*map(reasons_of, names)] if self._reasons and SIMILAR in names else None
        if question.source != "customer" or not (self._reasons or self._chances):
            return None
        reasons = [*map(reasons_of, names)] if self._reasons else []
        return reasons + [_CHANCES[name] for name in names if name in _CHANCES] if self._chances else reasons

    def _answers(
        self, ask: Ask, held: Held, commands: Sequence[Command], replies: Sequence[Any]
    ) -> list[Recommendation]:
        if len(commands) == 1 and type(replies[0]) is str and (usual := _usual(ask, held, replies[0])) is not None:
            return [usual]
        shared = len(commands)
        for question in ask.questions:
            shared -= question.key is not None
        out = self._out(ask, held, commands[:shared], replies)
        mine = replies[shared:]
        if ask.basket is None and not ask.shelves:
            question = ask.questions[0]
            reply = self._usable(question, mine[0] if mine else None)
            return [self._answer(ask, question, place, reply, held, out) for place in range(len(question.names))]
        own = iter(mine)
        usable = [self._usable(question, next(own) if question.key is not None else None) for question in ask.questions]
        if ask.basket is not None:
            return [self._for_basket(ask, usable, held, out)]
        answers, taken = [], set[str]()
        for number, place in ask.shelves:
            answer = self._answer(ask, ask.questions[number], place, usable[number], held, [*out, taken])
            taken.update(answer.stock_codes)
            answers.append(answer)
        return answers

    def _out(self, ask: Ask, held: Held, commands: Sequence[Command], replies: Sequence[Any]) -> Out:
        """Takes in what was not held before, and returns what the page does not show."""
        in_country = held.hidden_in.get(ask.country, _NOTHING) if ask.country else _NOTHING
        dismissed: frozenset[str] = _NOTHING
        category = None if ask.view.category is None else held.categories.get(ask.view.category, _NO_CATEGORY)
        if commands:
            prefix = self._prefix
            for (_, key, *_), reply in zip(commands, replies, strict=False):
                if key.startswith(f"{held.start}fallback:"):
                    self._hold_fallback(held, key.removeprefix(f"{held.start}fallback:"), reply)
                elif key.startswith(f"{held.start}category:"):
                    category = self._hold_category(held, key.removeprefix(f"{held.start}category:"), reply)
                elif key.startswith(f"{prefix}:hidden:"):
                    in_country = self._set(reply, "broken_hidden")
                    if len(held.hidden_in) < MOST_COUNTRIES:
                        held.hidden_in[key.removeprefix(f"{prefix}:hidden:")] = in_country
                elif key.startswith(f"{prefix}:dismissed:"):
                    dismissed = self._set(reply, "broken_dismissals")
                else:
                    number = reply if isinstance(reply, str) and reply.isascii() and reply.isdigit() else "0"
                    held.shown = int(number) or None
        out: Out = [each for each in (held.hidden, in_country, dismissed, ask.view.exclude) if each]
        return out if category is None else [*out, category]

    def _set(self, reply: Any, what: str) -> frozenset[str]:
        """The stock codes in a reply; none if the key is of another type, which is counted."""
        if reply is BROKEN:
            self._count(what)
            return _NOTHING
        return frozenset(reply) if reply else _NOTHING

    def _hold_fallback(self, held: Held, country: str, reply: Any) -> None:
        texts = zip(_OF_FALLBACK, reply, strict=True) if reply is not BROKEN else ((FOR_YOU, BROKEN),)
        lists = {name: codes for name, text in texts if text is not None and (codes := self._list(text))}
        if lists:  # unknown countries must not fill the memory
            held.fallbacks[country] = lists

    def _hold_category(self, held: Held, name: str, reply: Any) -> Category:
        found = [None, None] if reply is BROKEN else [None if text is None else self._list(text) for text in reply]
        if reply is BROKEN:
            self._count("broken_lists")
        best, others = (codes or () for codes in found)
        if not best and not others:
            return _NO_CATEGORY
        category = Category(best, others)
        if len(held.categories) < MOST_CATEGORIES:
            held.categories[name] = category
        return category

    def _usable(self, question: Question, reply: Any) -> Any:
        """A reply with lists; None if there is none, and what is wrong is counted."""
        if reply is BROKEN:
            self._count("broken_lists")
            return None
        if question.key is None and question.source != "none":
            self._count("unusable_ids")
        return reply

    def _answer(self, ask: Ask, question: Question, place: int, reply: Any, held: Held, out: Out) -> Recommendation:
        """One list: the own one, or what replaces it."""
        if reply is not None:
            answer = self._own(ask, question, place, reply, held, out)
            if answer is not None:
                return answer
        return _fallback(ask, question, held, out)

    def _list(self, text: Any) -> tuple[str, ...] | None:
        """The stock codes in a value; None if it is broken, which is counted."""
        stock_codes = stock_codes_of(text)
        if stock_codes is None:
            self._count("broken_lists")
        return stock_codes

    def _own(self, ask: Ask, question: Question, place: int, reply: Any, held: Held, out: Out) -> Recommendation | None:
        name, alone = question.names[place], type(reply) is str
        text = reply if alone else reply[place]
        if text is None or (stock_codes := self._list(text)) is None:
            return None
        places = _places(stock_codes, out, ask.view, held.shown, question.key)
        # An empty buy_again is an answer: the customer has nothing to buy again. Other lists have a fallback.
        if places is None and question.fallback is not None and name != BUY_AGAIN:
            return None
        more: tuple[str, ...] = ()
        if ask.view.category is not None and name == FOR_YOU and places is not None:
            # Best sellers of the category come after what is the customer's own.
            more = _best_of_category(ask, held, out, stock_codes)
            places = _places(stock_codes + more, out, ask.view, held.shown, question.key)
        shown = _at(stock_codes + more, places)
        if alone or len(reply) == len(question.names):  # nothing stands beside it
            return Recommendation(shown, question.source, held.name)
        after, count = len(question.names), len(stock_codes)
        reasons: tuple[Any, ...] = ()
        if self._reasons:
            if (why := reply[after + place]) is not None:
                found = reasons_in(why, count)
                if found is None:
                    self._count("broken_reasons")
                reasons = _at(found + (_BEST_SELLER,) * len(more) if found else (), places if found else None)
            after += len(question.names)
        answer = Recommendation(shown, question.source, held.name, reasons)
        if self._chances and name in _CHANCES:
            text = reply[after + sum(each in _CHANCES for each in question.names[:place])]
            return self._with_chances(name, answer, text, count, places, len(more))
        return answer

    def _with_chances(
        self, name: str, answer: Recommendation, text: str | None, count: int, places: Places | None, more: int
    ) -> Recommendation:
        """A list with its chances or days; the last `more` products of it have none."""
        if text is None:
            return answer
        if name == FOR_YOU:
            chances = chances_in(text, count)
            if chances is not None:
                return replace(answer, chances=_at(chances + (None,) * more, places))
        else:
            due = days_in(text, count)
            if due is not None:
                return replace(answer, due=_at(due, places))
        self._count("broken_chances")
        return answer

    def _for_basket(self, ask: Ask, replies: Sequence[Any], held: Held, out: Out) -> Recommendation:
        """What goes with a basket: first by the lists of its products and the customer's own, then best sellers."""
        together = [codes for reply in replies[:-1] if reply is not None and (codes := self._list(reply))]
        own = self._list(replies[-1]) if replies[-1] is not None else None
        scores: dict[str, float] = {}
        for weight, lists in ((1.0, together), (_OWN_WEIGHT, [own] if own else [])):
            for codes in lists:
                for place, code in enumerate(codes, 1 + _BASKET_EASE):
                    scores[code] = scores.get(code, 0.0) + weight / place
        ranked = sorted(scores, key=lambda code: (-scores[code], code))
        best = _fallback_of(ask, FOR_YOU, held, out, scores)
        source: Source = best[0][0] if best else "none"
        if together or own:
            source = "basket" if together else "customer"
        listed = tuple(dict.fromkeys([*ranked, *(code for _, codes in best for code in codes)]))
        places = _places(listed, out, ask.view, held.shown, ",".join(ask.basket or ()))
        return Recommendation(_at(listed, places), source, held.name)

    def _dismissal(self, customer_id: object, stock_code: object, days: float) -> list[Command] | None:
        """The commands that store a dismissal; None if one of the ids can be none.

        Raises:
            ValueError: it would not last from a moment to ten years.
        """
        if not 0 < days <= MOST_DAYS:
            raise ValueError(f"a product is dismissed for up to {MOST_DAYS} days, not for {days}")
        key, code = key_of("customer", customer_id), code_of(stock_code)
        if key is None or code is None:
            self._count("unusable_ids")
            return None
        now = int(time.time())
        ends = now + max(1, round(days * 86_400))
        return [
            ("EVAL", _DISMISS, "1", f"{self._prefix}:dismissed:{key}", code, str(ends), str(now), str(MOST_DISMISSED)),
            # Readers of a shop that has never had a dismissal need not ask for any.
            ("SET", f"{self._prefix}:dismissing", "1", "EX", str((MOST_DAYS + 1) * 86_400)),
        ]

    def _told(self, kind: str, stock_code: object, customer_id: object, session: object) -> Command | None:
        """The command that adds an event to the stream; None if one of the ids can be none.

        Raises:
            ValueError: neither a customer nor a session is given.
        """
        if customer_id is None and session is None:
            raise ValueError("an event has a customer or a session: name one with customer= or session=")
        code = code_of(stock_code)
        visitor: list[str] = []
        for field, given in ((Events.CUSTOMER, customer_id), (Events.SESSION, session)):
            key = key_of("customer", given) if given is not None else None
            if given is not None and key is None:
                code = None
            elif key is not None:
                visitor += [field, key.partition(":")[2]]
        if code is None:
            self._count("unusable_ids")
            return None
        waiting = ("MAXLEN", "~", str(MOST_EVENTS_WAITING))
        event = (Events.KIND, kind, Events.PRODUCT, code, *visitor)
        return ("XADD", f"{self._prefix}:events", *waiting, "*", *event)

    def _taken_back(self, customer_id: object, stock_code: object) -> Command | None:
        key, code = key_of("customer", customer_id), code_of(stock_code)
        if key is None or code is None:
            self._count("unusable_ids")
            return None
        return ("ZREM", f"{self._prefix}:dismissed:{key}", code)

    def _begin_dismissing(self) -> None:
        if self._held is not None:
            self._held.dismissing = True

    def _meta(self, reply: Any) -> Mapping[str, str]:
        """The fields of a meta that can be read."""
        if reply is BROKEN:
            self._count("broken_meta")
            return {}
        fields = {name: text for name, text in reply.items() if is_text(name) and is_text(text)}
        if len(fields) < len(reply):
            self._count("broken_meta")
        return fields

    def _stood_still(self, ask: Ask, held: Held, answers: Sequence[Recommendation]) -> bool:
        """Whether the process was stopped for so long that the held publication may have been removed."""
        if time.monotonic() <= held.until + _STOOD_STILL_SECONDS:
            return False
        own = "basket" if ask.basket is not None else ask.questions[0].source
        return bool(ask.shelves) or any(entry.source != own for entry in answers)


def _usual(ask: Ask, held: Held, text: str) -> Recommendation | None:
    """The answer to what most pages ask, an own list of which something is left; None if it is anything else.

    It is what `Reader._answer` returns, in fewer steps.
    """
    question, view = ask.questions[0], ask.view
    if question.key is None or len(ask.questions) > 1 or ask.basket is not None:
        return None
    if view.rotate is not None or view.category is not None:
        return None
    stock_codes = stock_codes_of(text)
    if not stock_codes:  # a broken one is counted by the longer way
        return None
    count = view.count or held.shown or len(stock_codes)
    hidden, in_country = held.hidden, held.hidden_in.get(ask.country) if ask.country else None
    for gone in (hidden, in_country, view.exclude):
        if gone and not gone.isdisjoint(stock_codes):
            stock_codes = tuple([code for code in stock_codes if code not in gone])
    if not stock_codes:
        return None
    begin = (view.page - 1) * count
    return Recommendation(stock_codes[begin : begin + count], question.source, held.name)


def is_optional(command: Command) -> bool:
    """Whether a page is shown without the reply: it says only what is hidden or dismissed."""
    return command[0] in _OPTIONAL or command[-1].endswith(":dismissing")


def _members(key: str) -> Command:
    """The command for the members of a sorted set that are still in force: its scores are when they end."""
    return ("ZRANGEBYSCORE", key, f"({int(time.time())}", "+inf")


def _places(stock_codes: tuple[str, ...], out: Out, view: View, shown: int | None, key: str | None) -> Places | None:
    """Where in a list the products are that a page shows; None if no product of the list may be shown."""
    count = view.count or shown or len(stock_codes) or 1
    begin = (view.page - 1) * count
    gone = {code for each in out for code in each.intersection(stock_codes)} if out else out
    if view.rotate is None and not gone:
        return slice(begin, begin + count) if stock_codes else None
    left = [place for place, code in enumerate(stock_codes) if code not in gone]
    if not left:
        return None
    if view.rotate is not None:
        left = list(rotated(left, [stock_codes[place] for place in left], f"{view.rotate}:{key}"))
    return left[begin : begin + count]


def rotated(places: Sequence[int], stock_codes: Iterable[str], seed: str) -> Iterator[int]:
    """Reshuffles a list a little: no product moves by `ROTATION_REACH` places, and a seed has one order.

    The product at place p is sorted by p + 5 u, with u from 0 to 1 by the SHA-256 of seed and stock code.

    Args:
        places: of the products, best first.
        stock_codes: at these places.
        seed: of the order, such as the day and the customer.

    >>> list(rotated(range(8), "ABCDEFGH", "2011-12-09:14646"))
    [0, 1, 4, 3, 2, 7, 6, 5]
    """
    moved = []
    for rank, (place, code) in enumerate(zip(places, stock_codes, strict=True)):
        number = int.from_bytes(hashlib.sha256(f"{seed}:{code}".encode()).digest()[:4], "big")
        moved.append((rank + ROTATION_REACH * number / 2**32, place))
    return (place for _, place in sorted(moved))


def _at(values: tuple[Any, ...], places: Places | None) -> tuple[Any, ...]:
    if places is None:
        return ()
    return values[places] if type(places) is slice else tuple([values[place] for place in places])


def _fallback(ask: Ask, question: Question, held: Held, out: Out) -> Recommendation:
    if question.fallback is None:
        return Recommendation((), "none", held.name)
    found = _fallback_of(ask, question.fallback, held, out)
    for source, stock_codes in found:
        places = _places(stock_codes, out, ask.view, held.shown, ask.country)
        if places is not None:
            return Recommendation(_at(stock_codes, places), source, held.name)
    return Recommendation((), found[0][0] if found else "none", held.name)


def _fallback_of(
    ask: Ask, list_name: str, held: Held, out: Out, taken: Iterable[str] = ()
) -> list[tuple[Source, tuple[str, ...]]]:
    """The fallbacks of a list, that of the country first; or the best sellers of the category that was asked for."""
    found: list[tuple[Source, tuple[str, ...]]] = []
    country = ask.country
    if ask.view.category is not None and list_name == FOR_YOU:
        best = _best_of_category(ask, held, out, taken)
        return [("category", best)] if best else []
    for key in (country, EVERYWHERE):
        stock_codes = held.fallbacks.get(key, {}).get(list_name) if key else None
        if stock_codes:
            found.append(("everywhere" if key == EVERYWHERE else "country", stock_codes))
        if key == EVERYWHERE:
            break
    return found


def _best_of_category(ask: Ask, held: Held, out: Out, taken: Iterable[str]) -> tuple[str, ...]:
    """As many best sellers of the category as a page may need, without those that are not shown or are taken.

    A category may have a hundred thousand products, of which a page shows ten.
    """
    category = next((each for each in out if isinstance(each, Category)), _NO_CATEGORY)
    count = ask.view.count or held.shown
    gone = [each for each in out if not isinstance(each, Category)]
    there = set(taken)
    shown = (code for code in category.best if code not in there and not any(code in each for each in gone))
    return tuple(islice(shown, None if count is None else ask.view.page * count + ROTATION_REACH))


def unanswered(ask: Ask, source: Source) -> list[Recommendation]:
    """An empty list for each one that was asked for."""
    return [Recommendation((), source, None) for _ in range(ask.answers)]
