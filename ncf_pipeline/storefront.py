"""What a storefront reads lists with: one look-up, and a sensible list for anyone.

    from ncf_pipeline.storefront import Storefront

    shop = Storefront("redis://reader:secret@127.0.0.1:6379/0")
    shop.for_customer(14646, country="Netherlands").stock_codes
    shop.for_product("85123A").stock_codes

The number of the live publication is held for a second, so that a page costs one round trip. A customer
without a list gets their country's, else everybody's, else an empty one; `source` says which. While Redis
is away a list is empty and `source` is `unavailable`, so that the shop's page never fails because of it;
`raise_errors=True` turns that off. Needs nothing but `redis`.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import redis
import redis.asyncio

from ncf_pipeline.columns import (
    BOUGHT_TOGETHER,
    BUY_AGAIN,
    DISCOVER,
    EVERYWHERE,
    FOR_YOU,
    NEW_ARRIVALS,
    SIMILAR,
)

__all__ = [
    "BOUGHT_TOGETHER",
    "BUY_AGAIN",
    "DISCOVER",
    "FOR_YOU",
    "NEW_ARRIVALS",
    "SIMILAR",
    "AsyncStorefront",
    "Recommendation",
    "Storefront",
]

Source = Literal["customer", "product", "country", "everywhere", "none", "unavailable"]

HOLD_SECONDS = 1.0
"""How long the number of the live publication is held."""


@dataclass(frozen=True)
class Recommendation:
    """A list, best first, and where it came from.

    Attributes:
        stock_codes: at most as many as the publication's `top_n`.
        source: `customer` or `product`: their own list; `country`, `everywhere`: best sellers there;
            `none`: nothing is published; `unavailable`: Redis did not answer.
        publication: e.g. `p000042`; None where there is none.
    """

    stock_codes: tuple[str, ...]
    source: Source
    publication: str | None


class _Pipeline(Protocol):
    def hget(self, name: str, key: str) -> Any: ...


@dataclass
class _Held:
    name: str | None = None
    until: float = 0.0


class _Reader:
    """What the sync and the async client have in common: which keys are read, and what the answer means."""

    def __init__(self, *, prefix: str, raise_errors: bool) -> None:
        self._prefix = prefix
        self._raise_errors = raise_errors
        self._held = _Held()

    def _live(self) -> str | None:
        return self._held.name if time.monotonic() < self._held.until else None

    def _hold(self, name: object) -> str | None:
        held = None if name is None else str(name)
        self._held = _Held(held, time.monotonic() + HOLD_SECONDS)
        return held

    def _ask(self, pipeline: _Pipeline, publication: str, questions: Sequence[tuple[Source, str, str]]) -> None:
        for _, key, list_name in questions:
            pipeline.hget(f"{self._prefix}:{publication}:{key}", list_name)

    def _unavailable(self, error: redis.RedisError) -> Recommendation:
        self._held = _Held()
        if self._raise_errors:
            raise error
        return Recommendation((), "unavailable", None)


def _customer_questions(customer_id: int, list_name: str, country: str | None) -> list[tuple[Source, str, str]]:
    # Whoever has no list of their own gets best sellers, whichever list was asked for.
    fallback = list_name if list_name == NEW_ARRIVALS else FOR_YOU
    questions: list[tuple[Source, str, str]] = [("customer", f"customer:{customer_id}", list_name)]
    return questions + _fallback_questions(fallback, country)


def _fallback_questions(list_name: str, country: str | None) -> list[tuple[Source, str, str]]:
    of_country: list[tuple[Source, str, str]] = [("country", f"fallback:{country}", list_name)] if country else []
    return [*of_country, ("everywhere", f"fallback:{EVERYWHERE}", list_name)]


def _first_answer(
    questions: Sequence[tuple[Source, str, str]], answers: Sequence[str | None], publication: str
) -> Recommendation:
    for (source, _, _), answer in zip(questions, answers, strict=True):
        # A customer's own empty list is an answer: who bought nothing has nothing to buy again.
        if answer is not None:
            return Recommendation(tuple(json.loads(answer)), source, publication)
    return Recommendation((), "none", publication)


class Storefront(_Reader):
    """A client for one process; its connections may be shared by threads.

    Args:
        url: of Redis, e.g. `redis://reader:secret@host:6379/0`.
        prefix: the start of every key.
        raise_errors: raise `redis.RedisError` instead of answering `unavailable`.
        timeout: seconds that a page may wait for Redis.
    """

    def __init__(self, url: str, *, prefix: str = "ncf", raise_errors: bool = False, timeout: float = 0.5) -> None:
        super().__init__(prefix=prefix, raise_errors=raise_errors)
        self._redis = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=timeout, socket_connect_timeout=timeout
        )

    def for_customer(self, customer_id: int, *, list_name: str = FOR_YOU, country: str | None = None) -> Recommendation:
        """The customer's `for_you`, `discover` or `buy_again`; else best sellers of their country, else of all."""
        return self._read(_customer_questions(customer_id, list_name, country))

    def for_visitor(self, *, list_name: str = FOR_YOU, country: str | None = None) -> Recommendation:
        """`for_you` (best sellers of late) or `new_arrivals` for somebody unknown."""
        return self._read(_fallback_questions(list_name, country))

    def for_product(self, stock_code: str, *, list_name: str = BOUGHT_TOGETHER) -> Recommendation:
        """The product's `bought_together` or `similar`; empty where it has none."""
        return self._read([("product", f"product:{stock_code}", list_name)])

    def meta(self) -> Mapping[str, str]:
        """What the live publication says of itself; empty before the first."""
        publication = self._hold(self._redis.get(f"{self._prefix}:current"))
        if publication is None:
            return {}
        return cast("dict[str, str]", self._redis.hgetall(f"{self._prefix}:{publication}:meta"))

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()

    def __enter__(self) -> "Storefront":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read(self, questions: Sequence[tuple[Source, str, str]]) -> Recommendation:
        try:
            publication = self._live() or self._hold(self._redis.get(f"{self._prefix}:current"))
            if publication is None:
                return Recommendation((), "none", None)
            pipeline = self._redis.pipeline(transaction=False)
            self._ask(pipeline, publication, questions)
            return _first_answer(questions, pipeline.execute(), publication)
        except redis.RedisError as error:
            return self._unavailable(error)


class AsyncStorefront(_Reader):
    """The same for asyncio. See `Storefront`."""

    def __init__(self, url: str, *, prefix: str = "ncf", raise_errors: bool = False, timeout: float = 0.5) -> None:
        super().__init__(prefix=prefix, raise_errors=raise_errors)
        self._redis = redis.asyncio.Redis.from_url(
            url, decode_responses=True, socket_timeout=timeout, socket_connect_timeout=timeout
        )

    async def for_customer(
        self, customer_id: int, *, list_name: str = FOR_YOU, country: str | None = None
    ) -> Recommendation:
        """See `Storefront.for_customer`."""
        return await self._read(_customer_questions(customer_id, list_name, country))

    async def for_visitor(self, *, list_name: str = FOR_YOU, country: str | None = None) -> Recommendation:
        """See `Storefront.for_visitor`."""
        return await self._read(_fallback_questions(list_name, country))

    async def for_product(self, stock_code: str, *, list_name: str = BOUGHT_TOGETHER) -> Recommendation:
        """See `Storefront.for_product`."""
        return await self._read([("product", f"product:{stock_code}", list_name)])

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    async def _read(self, questions: Sequence[tuple[Source, str, str]]) -> Recommendation:
        try:
            publication = self._live() or self._hold(await self._redis.get(f"{self._prefix}:current"))
            if publication is None:
                return Recommendation((), "none", None)
            pipeline = self._redis.pipeline(transaction=False)
            self._ask(pipeline, publication, questions)
            return _first_answer(questions, await pipeline.execute(), publication)
        except redis.RedisError as error:
            return self._unavailable(error)
