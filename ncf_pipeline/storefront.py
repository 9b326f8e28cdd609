"""What a storefront reads lists with: one round trip, and a sensible list for anyone.

    from ncf_pipeline.storefront import Storefront

    shop = Storefront("redis://reader:secret@127.0.0.1:6379/0")
    shop.for_customer(14646, country="Netherlands").stock_codes
    shop.for_product("85123A", list_name="similar").stock_codes

The number of the live publication is held for a second, so that a page costs one round trip. A customer
without a list gets their country's, else everybody's, else an empty one; `source` says which. While Redis
is away a list is empty and `source` is `unavailable`, so that the shop's page never fails because of it;
`raise_errors=True` turns that off. Needs nothing but `redis`.

Of a Redis Cluster, any node's URL will do: `Storefront("redis://reader:secret@node:6379", cluster=True)`.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, cast

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from ncf_pipeline.columns import (
    BOUGHT_TOGETHER,
    BUY_AGAIN,
    DISCOVER,
    EVERYWHERE,
    FOR_YOU,
    LISTS_OF,
    NEW_ARRIVALS,
    REASONED_LISTS,
    SIMILAR,
    Audience,
    reasons_of,
)

__all__ = [
    "BOUGHT_TOGETHER",
    "BUY_AGAIN",
    "DISCOVER",
    "FOR_YOU",
    "NEW_ARRIVALS",
    "SIMILAR",
    "AsyncStorefront",
    "CustomerList",
    "ProductList",
    "Reason",
    "ReasonCode",
    "Recommendation",
    "Source",
    "Storefront",
    "VisitorList",
]

CustomerList = Literal["for_you", "discover", "buy_again"]
ProductList = Literal["bought_together", "similar"]
VisitorList = Literal["for_you", "new_arrivals"]
Source = Literal["customer", "product", "country", "everywhere", "none", "unavailable"]
ReasonCode = Literal["bought", "goes_with", "popular_with", "new", "popular", "taste", "pinned"]

HOLD_SECONDS = 1.0
"""How long the number of the live publication is held, and how long a Redis that failed is left alone."""

_FAULTS = (redis.RedisError, RedisClusterException, OSError, ValueError)  # ValueError: what is there is no JSON


@dataclass(frozen=True)
class Reason:
    """Why a product is on a customer's list. A code that is not known here is no error: later ones may come.

    Attributes:
        code: `bought`: on `evidence` invoices before; `goes_with`: often in one basket with the product `evidence`,
            which they bought; `popular_with`: many who bought the product `evidence`, as they did, bought it;
            `new`: first sold within the last weeks; `popular`: a best seller of late; `pinned`: the shop's own
            choice; `taste`: all that they bought, taken together.
        evidence: a number of invoices, or a stock code; None for the others.
    """

    code: ReasonCode
    evidence: int | str | None = None


@dataclass(frozen=True)
class Recommendation:
    """A list, best first, and where it came from.

    Attributes:
        stock_codes: at most as many as the publication's `top_n`.
        source: `customer` or `product`: their own list; `country`, `everywhere`: best sellers there;
            `none`: nothing is published, or the product has no list; `unavailable`: Redis did not answer.
        publication: e.g. `p000042`; None where there is none.
        reasons: one for each stock code of a customer's own list; empty for other lists, and where the shop
            publishes none.
    """

    stock_codes: tuple[str, ...]
    source: Source
    publication: str | None
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class _Question:
    """A list that would do, and what it means if it is there."""

    source: Source
    key: str
    list_name: str
    empty_is_an_answer: bool = False

    @property
    def fields(self) -> list[str]:
        """What is read of the key: the list, and its reasons where it may have some."""
        may_have_reasons = self.source == "customer" and self.list_name in REASONED_LISTS
        return [self.list_name, reasons_of(self.list_name)] if may_have_reasons else [self.list_name]


_Questions = Sequence[_Question]  # the first with an answer counts


class _Reader:
    """What the sync and the async client have in common: which keys are read, and what the answers mean."""

    def __init__(self, prefix: str, *, raise_errors: bool) -> None:
        self._prefix = prefix
        self._raise_errors = raise_errors
        self._held: tuple[str, float] | None = None
        self._left_alone_until = 0.0

    def _pointer(self) -> str:
        return f"{self._prefix}:current"

    def _key(self, publication: str, key: str) -> str:
        return f"{self._prefix}:{publication}:{key}"

    def _live(self) -> str | None:
        """The live publication if it is known well enough."""
        held = self._held
        return held[0] if held is not None and time.monotonic() < held[1] else None

    def _hold(self, name: Any) -> str | None:
        if name is None:
            self._held = None
            return None
        self._held = (str(name), time.monotonic() + HOLD_SECONDS)
        return str(name)

    def _is_left_alone(self) -> bool:
        return not self._raise_errors and time.monotonic() < self._left_alone_until

    def _fail(self, error: Exception) -> None:
        if self._raise_errors:
            raise error
        self._held = None
        self._left_alone_until = time.monotonic() + HOLD_SECONDS

    def _answers(self, asked: Sequence[_Questions], replies: Sequence[Any], publication: str) -> list[Recommendation]:
        remaining = iter(replies)
        return [self._answer(questions, [next(remaining) for _ in questions], publication) for questions in asked]

    def _answer(self, questions: _Questions, replies: Sequence[Any], publication: str) -> Recommendation:
        for question, reply in zip(questions, replies, strict=True):
            found, *reasons = reply
            if found is not None:
                stock_codes = tuple(json.loads(found))
                if stock_codes or question.empty_is_an_answer:
                    return Recommendation(
                        stock_codes, question.source, publication, _reasons(len(stock_codes), *reasons)
                    )
        return Recommendation((), "none", publication)


def _reasons(count: int, text: str | None = None) -> tuple[Reason, ...]:
    """As many as there are stock codes, or none: a list without reasons is better than no list."""
    try:
        entries = [(code, *evidence, None) for code, *evidence in json.loads(text or "[]")]
    except (TypeError, ValueError):
        return ()
    reasons = tuple(Reason(cast("ReasonCode", code), evidence) for code, evidence, *_ in entries)
    return reasons if len(reasons) == count else ()


def _customer_questions(customer_id: int | str, list_name: str, country: str | None) -> _Questions:
    _check("customer", list_name)
    # Who bought nothing yet has nothing to buy again; but nobody is without anything to discover.
    own = _Question("customer", f"customer:{customer_id}", list_name, empty_is_an_answer=list_name == BUY_AGAIN)
    return [own, *_visitor_questions(FOR_YOU, country)]


def _visitor_questions(list_name: str, country: str | None) -> _Questions:
    _check("fallback", list_name)
    of_country = [_Question("country", f"fallback:{country}", list_name)] if country else []
    return [*of_country, _Question("everywhere", f"fallback:{EVERYWHERE}", list_name)]


def _product_questions(stock_code: str, list_name: str) -> _Questions:
    _check("product", list_name)
    return [_Question("product", f"product:{stock_code}", list_name, empty_is_an_answer=True)]


def _check(audience: Audience, list_name: str) -> None:
    if list_name not in LISTS_OF[audience]:
        raise ValueError(f"there is no list {list_name!r} here; there is {', '.join(LISTS_OF[audience])}")


def _unanswered(asked: Sequence[_Questions], source: Source) -> list[Recommendation]:
    return [Recommendation((), source, None) for _ in asked]


def _check_url(url: str, *, cluster: bool) -> None:
    named = parse_url(url)  # type: ignore[no-untyped-call]
    if cluster and ("path" in named or named.get("db")):
        raise ValueError("a Redis Cluster has no socket file, and no database but 0")


class Storefront(_Reader):
    """A client for one process; threads may share it.

    Args:
        url: of Redis, e.g. `redis://reader:secret@host:6379/0`, or `rediss://...?ssl_ca_certs=/etc/ssl/shop-ca.pem`.
        prefix: the start of every key.
        cluster: the URL is of a node of a Redis Cluster, which names the others.
        raise_errors: raise `redis.RedisError` (of a cluster, `redis.exceptions.RedisClusterException` too) instead of
            answering `unavailable`.
        timeout: seconds that a page may wait for Redis, for the connection and for each answer.

    Raises:
        ValueError: the URL is none of a Redis.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "ncf",
        cluster: bool = False,
        raise_errors: bool = False,
        timeout: float = 0.5,
    ) -> None:
        super().__init__(prefix, raise_errors=raise_errors)
        _check_url(url, cluster=cluster)
        kind: Any = redis.RedisCluster if cluster else redis.Redis
        self._open = partial(
            kind.from_url,
            url,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # A connection that was closed while it was idle is opened again, once; no page waits longer.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._opened: redis.Redis | None = None
        self._opening = threading.Lock()

    @property
    def _redis(self) -> redis.Redis:
        # When it is first used: a cluster's client connects when it is made, and a shop must start without Redis.
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = self._open()
        return self._opened

    def for_customer(
        self, customer_id: int | str, *, list_name: CustomerList = "for_you", country: str | None = None
    ) -> Recommendation:
        """One list of a customer; who has none gets the best sellers of their country, else of everywhere.

        Args:
            customer_id: the shop's.
            list_name: `for_you`, `discover` or `buy_again`.
            country: of the customer, as it is written on invoices.
        """
        return self._read([_customer_questions(customer_id, list_name, country)])[0]

    def lists_of_customer(
        self, customer_id: int | str, *, country: str | None = None
    ) -> dict[CustomerList, Recommendation]:
        """All lists of a customer in one round trip, each as `for_customer` gives it."""
        names: tuple[CustomerList, ...] = ("for_you", "discover", "buy_again")
        found = self._read([_customer_questions(customer_id, name, country) for name in names])
        return dict(zip(names, found, strict=True))

    def for_visitor(self, *, list_name: VisitorList = "for_you", country: str | None = None) -> Recommendation:
        """`for_you` (best sellers of late) or `new_arrivals` for somebody unknown."""
        return self._read([_visitor_questions(list_name, country)])[0]

    def for_product(self, stock_code: str, *, list_name: ProductList = "bought_together") -> Recommendation:
        """What completes a basket with a product (`bought_together`), or could stand in for it (`similar`)."""
        return self._read([_product_questions(stock_code, list_name)])[0]

    def meta(self) -> Mapping[str, str]:
        """What the live publication says of itself; empty before the first, and while Redis does not answer."""
        try:
            publication = self._hold(self._redis.get(self._pointer()))
            found: Any = self._redis.hgetall(self._key(publication, "meta")) if publication else {}
        except _FAULTS as error:
            self._fail(error)
            return {}
        return dict(found)

    def close(self) -> None:
        """Closes the connections."""
        if self._opened is not None:
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, asked: Sequence[_Questions]) -> list[Recommendation]:
        if self._is_left_alone():
            return _unanswered(asked, "unavailable")
        try:
            held = self._live()
            publication = held or self._hold(self._redis.get(self._pointer()))
            if publication is None:
                return _unanswered(asked, "none")
            found = self._ask(asked, publication)
            if held and any(entry.source == "none" for entry in found):
                # Is what was held gone by now?
                publication = self._hold(self._redis.get(self._pointer()))
                if publication not in (None, held):
                    found = self._ask(asked, str(publication))
        except _FAULTS as error:
            self._fail(error)
            return _unanswered(asked, "unavailable")
        return found

    def _ask(self, asked: Sequence[_Questions], publication: str) -> list[Recommendation]:
        pipeline = self._redis.pipeline(transaction=False)
        for questions in asked:
            for question in questions:
                pipeline.hmget(self._key(publication, question.key), question.fields)
        return self._answers(asked, pipeline.execute(), publication)


class AsyncStorefront(_Reader):
    """The same for asyncio, one for each event loop. See `Storefront`."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "ncf",
        cluster: bool = False,
        raise_errors: bool = False,
        timeout: float = 0.5,
    ) -> None:
        super().__init__(prefix, raise_errors=raise_errors)
        _check_url(url, cluster=cluster)
        kind: Any = redis.asyncio.RedisCluster if cluster else redis.asyncio.Redis
        self._redis: redis.asyncio.Redis = kind.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )

    async def for_customer(
        self, customer_id: int | str, *, list_name: CustomerList = "for_you", country: str | None = None
    ) -> Recommendation:
        """See `Storefront.for_customer`."""
        return (await self._read([_customer_questions(customer_id, list_name, country)]))[0]

    async def lists_of_customer(
        self, customer_id: int | str, *, country: str | None = None
    ) -> dict[CustomerList, Recommendation]:
        """See `Storefront.lists_of_customer`."""
        names: tuple[CustomerList, ...] = ("for_you", "discover", "buy_again")
        found = await self._read([_customer_questions(customer_id, name, country) for name in names])
        return dict(zip(names, found, strict=True))

    async def for_visitor(self, *, list_name: VisitorList = "for_you", country: str | None = None) -> Recommendation:
        """See `Storefront.for_visitor`."""
        return (await self._read([_visitor_questions(list_name, country)]))[0]

    async def for_product(self, stock_code: str, *, list_name: ProductList = "bought_together") -> Recommendation:
        """See `Storefront.for_product`."""
        return (await self._read([_product_questions(stock_code, list_name)]))[0]

    async def meta(self) -> Mapping[str, str]:
        """See `Storefront.meta`."""
        try:
            publication = self._hold(await self._redis.get(self._pointer()))
            pending: Any = self._redis.hgetall(self._key(publication, "meta")) if publication else None
            found = await pending if pending is not None else {}
        except _FAULTS as error:
            self._fail(error)
            return {}
        return dict(found)

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(self, asked: Sequence[_Questions]) -> list[Recommendation]:
        if self._is_left_alone():
            return _unanswered(asked, "unavailable")
        try:
            held = self._live()
            publication = held or self._hold(await self._redis.get(self._pointer()))
            if publication is None:
                return _unanswered(asked, "none")
            found = await self._ask(asked, publication)
            if held and any(entry.source == "none" for entry in found):
                publication = self._hold(await self._redis.get(self._pointer()))
                if publication not in (None, held):
                    found = await self._ask(asked, str(publication))
        except _FAULTS as error:
            self._fail(error)
            return _unanswered(asked, "unavailable")
        return found

    async def _ask(self, asked: Sequence[_Questions], publication: str) -> list[Recommendation]:
        pipeline = self._redis.pipeline(transaction=False)
        for questions in asked:
            for question in questions:
                pipeline.hmget(self._key(publication, question.key), question.fields)
        return self._answers(asked, await pipeline.execute(), publication)
