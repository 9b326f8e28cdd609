"""The sync and the async client: they send commands to Redis, and limit how long a page waits."""

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from ncf_pipeline.storefront.answers import CustomerList, ProductList, Recommendation, VisitorList
from ncf_pipeline.storefront.reading import (
    BROKEN,
    Broken,
    Command,
    Question,
    Reader,
    all_of_customer,
    of_customer,
    of_product,
    of_visitor,
    unanswered,
)

_FAULTS = (redis.RedisError, RedisClusterException, OSError, ValueError)
# Bytes that are no UTF-8 come as half characters, which `answers.is_text` finds: they must not fail a whole reply.
_OPTIONS: dict[str, Any] = {"decode_responses": True, "encoding_errors": "surrogateescape"}
_WRONG_TYPE = "WRONGTYPE"  # a key holds another type than the command is for


class Storefront(Reader):
    """A client for one process; threads may share it.

    Args:
        url: of Redis, e.g. `redis://reader:secret@host:6379/0`, or `rediss://...?ssl_ca_certs=/etc/ssl/shop-ca.pem`.
        prefix: of every key.
        cluster: whether the URL is that of a node of a Redis Cluster, which names the other nodes.
        reasons: whether to read reasons too; without them, half as many bytes are read.
        chances: whether to read the chances of `for_you` and the days of `buy_again` too, if the shop publishes them.
        raise_errors: whether to raise `redis.RedisError` (for a cluster also `redis.exceptions.RedisClusterException`)
            instead of answering `unavailable`. A broken value never raises: see `statistics`.
        timeout: seconds that a page may wait for the connection, and for each reply.

    Raises:
        ValueError: the URL is not one of Redis.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "ncf",
        cluster: bool = False,
        reasons: bool = True,
        chances: bool = False,
        raise_errors: bool = False,
        timeout: float = 0.5,
    ) -> None:
        super().__init__(prefix, reasons=reasons, chances=chances, raise_errors=raise_errors)
        _check_url(url, cluster=cluster)
        kind: Any = redis.RedisCluster if cluster else redis.Redis
        self._open = partial(
            kind.from_url,
            url,
            **_OPTIONS,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # A connection that was closed while idle is opened again, once. A page waits no longer than that.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._opened: redis.Redis | None = None
        self._opening = threading.Lock()

    @property
    def _redis(self) -> redis.Redis:
        # Made at first use: a cluster's client connects when it is made, and a shop must start without Redis.
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = self._open()
        return self._opened

    def for_customer(
        self, customer_id: int | str, *, list_name: CustomerList = "for_you", country: str | None = None
    ) -> Recommendation:
        """One list of a customer; if it is missing, the best sellers of their country, else of everywhere.

        Args:
            customer_id: the shop's. A float without a fraction, as tables make of ids, is that number.
            list_name: `for_you`, `discover` or `buy_again`.
            country: of the customer, as written on invoices.

        Returns:
            The list; its `source` says where it comes from.

        Raises:
            ValueError: customers have no list of that name.
        """
        return self._read(of_customer(customer_id, list_name, country))[0]

    def lists_of_customer(
        self, customer_id: int | str, *, country: str | None = None
    ) -> dict[CustomerList, Recommendation]:
        """All lists of a customer in one round trip, each as `for_customer` returns it."""
        question = all_of_customer(customer_id, country)
        return _by_name(question, self._read(question))

    def for_visitor(self, *, list_name: VisitorList = "for_you", country: str | None = None) -> Recommendation:
        """`for_you` (recent best sellers) or `new_arrivals`, for an unknown visitor.

        Raises:
            ValueError: visitors have no list of that name.
        """
        return self._read(of_visitor(list_name, country))[0]

    def for_product(self, stock_code: str, *, list_name: ProductList = "bought_together") -> Recommendation:
        """Products that complete a basket with this one (`bought_together`), or could replace it (`similar`).

        Raises:
            ValueError: products have no list of that name.
        """
        return self._read(of_product(stock_code, list_name))[0]

    def meta(self) -> Mapping[str, str]:
        """The meta of the live publication; empty if nothing is published, or Redis does not answer."""
        try:
            held = self._hold(self._ask(("GET", self._pointer)))
            meta = self._meta(self._ask(("HGETALL", f"{held.start}meta"))) if held else {}
        except _FAULTS as error:
            self._fail(error)
            return {}
        return meta

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

    def _read(self, question: Question) -> list[Recommendation]:
        if self._is_left_alone():
            return unanswered(question, "unavailable")
        try:
            held = self._live() or self._hold(self._ask(("GET", self._pointer)))
            if held is None:
                return unanswered(question, "none")
            commands = self._commands(question, held)
            answers = self._answers(question, held, commands, self._ask_all(commands))
            if self._stood_still(question, held, answers):
                held = self._hold(self._ask(("GET", self._pointer)))
                if held is None:
                    return unanswered(question, "none")
                commands = self._commands(question, held)
                answers = self._answers(question, held, commands, self._ask_all(commands))
        except _FAULTS as error:
            self._fail(error)
            return unanswered(question, "unavailable")
        return answers

    def _ask(self, command: Command) -> Any:
        ask: Any = self._redis.execute_command
        try:
            return ask(*command)
        except redis.ResponseError as error:
            return _broken(error)

    def _ask_all(self, commands: Sequence[Command]) -> Sequence[Any]:
        if len(commands) == 1:
            return [self._ask(commands[0])]
        if not commands:
            return []
        pipeline: Any = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            replies: list[Any] = pipeline.execute()
        except redis.ResponseError as error:
            if _WRONG_TYPE not in str(error):
                raise
            return [self._ask(command) for command in commands]  # so that one broken key costs no other one
        return replies


class AsyncStorefront(Reader):
    """The same client for asyncio; use one for each event loop. See `Storefront`."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "ncf",
        cluster: bool = False,
        reasons: bool = True,
        chances: bool = False,
        raise_errors: bool = False,
        timeout: float = 0.5,
    ) -> None:
        super().__init__(prefix, reasons=reasons, chances=chances, raise_errors=raise_errors)
        _check_url(url, cluster=cluster)
        kind: Any = redis.asyncio.RedisCluster if cluster else redis.asyncio.Redis
        self._redis: redis.asyncio.Redis = kind.from_url(
            url,
            **_OPTIONS,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )

    async def for_customer(
        self, customer_id: int | str, *, list_name: CustomerList = "for_you", country: str | None = None
    ) -> Recommendation:
        """See `Storefront.for_customer`."""
        return (await self._read(of_customer(customer_id, list_name, country)))[0]

    async def lists_of_customer(
        self, customer_id: int | str, *, country: str | None = None
    ) -> dict[CustomerList, Recommendation]:
        """See `Storefront.lists_of_customer`."""
        question = all_of_customer(customer_id, country)
        return _by_name(question, await self._read(question))

    async def for_visitor(self, *, list_name: VisitorList = "for_you", country: str | None = None) -> Recommendation:
        """See `Storefront.for_visitor`."""
        return (await self._read(of_visitor(list_name, country)))[0]

    async def for_product(self, stock_code: str, *, list_name: ProductList = "bought_together") -> Recommendation:
        """See `Storefront.for_product`."""
        return (await self._read(of_product(stock_code, list_name)))[0]

    async def meta(self) -> Mapping[str, str]:
        """See `Storefront.meta`."""
        try:
            held = self._hold(await self._ask(("GET", self._pointer)))
            meta = self._meta(await self._ask(("HGETALL", f"{held.start}meta"))) if held else {}
        except _FAULTS as error:
            self._fail(error)
            return {}
        return meta

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(self, question: Question) -> list[Recommendation]:
        if self._is_left_alone():
            return unanswered(question, "unavailable")
        try:
            held = self._live() or self._hold(await self._ask(("GET", self._pointer)))
            if held is None:
                return unanswered(question, "none")
            commands = self._commands(question, held)
            answers = self._answers(question, held, commands, await self._ask_all(commands))
            if self._stood_still(question, held, answers):
                held = self._hold(await self._ask(("GET", self._pointer)))
                if held is None:
                    return unanswered(question, "none")
                commands = self._commands(question, held)
                answers = self._answers(question, held, commands, await self._ask_all(commands))
        except _FAULTS as error:
            self._fail(error)
            return unanswered(question, "unavailable")
        return answers

    async def _ask(self, command: Command) -> Any:
        ask: Any = self._redis.execute_command
        try:
            return await ask(*command)
        except redis.ResponseError as error:
            return _broken(error)

    async def _ask_all(self, commands: Sequence[Command]) -> Sequence[Any]:
        if len(commands) == 1:
            return [await self._ask(commands[0])]
        if not commands:
            return []
        pipeline: Any = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            replies: list[Any] = await pipeline.execute()
        except redis.ResponseError as error:
            if _WRONG_TYPE not in str(error):
                raise
            return [await self._ask(command) for command in commands]
        return replies


def _broken(error: redis.ResponseError) -> Broken:
    """What stands for the reply if a key is of another type. Any other error concerns all keys, and is raised."""
    if str(error).startswith(_WRONG_TYPE):
        return BROKEN
    raise error


def _by_name(question: Question, answers: Sequence[Recommendation]) -> dict[CustomerList, Recommendation]:
    return dict(zip(cast("tuple[CustomerList, ...]", question.names), answers, strict=True))


def _check_url(url: str, *, cluster: bool) -> None:
    named = parse_url(url)  # type: ignore[no-untyped-call]
    if cluster and ("path" in named or named.get("db")):
        raise ValueError("a Redis Cluster has no socket file and only database 0: name a node by host and port")
