"""The sync and the async client: they send commands to Redis, and limit how long a page waits."""

import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
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

from ncf_pipeline.columns import CART, VIEW, WISH
from ncf_pipeline.storefront.answers import CustomerList, PageList, ProductList, Recommendation, VisitorList
from ncf_pipeline.storefront.asking import (
    Ask,
    all_of_customer,
    of_basket,
    of_customer,
    of_page,
    of_product,
    of_visitor,
    view,
)
from ncf_pipeline.storefront.reading import BROKEN, Broken, Command, Reader, is_optional, unanswered

_FAULTS = (redis.RedisError, RedisClusterException, OSError, ValueError)
# Bytes that are no UTF-8 come as half characters, which `answers.is_text` finds: they must not fail a whole reply.
_OPTIONS: dict[str, Any] = {"decode_responses": True, "encoding_errors": "surrogateescape"}
_WRONG_TYPE = "WRONGTYPE"  # a key holds another type than the command is for

LINES = 16
"""Connections that a sync client keeps for single commands. More threads at once use the pool."""


class _Lines:
    """Connections for one command at a time, which costs a third less than through a pool of redis-py.

    A pool looks at each connection before it lends it; here, one that was closed while idle is found by using it. A
    line is kept only after a reply was read to its end: otherwise a page might get the answer to another one.
    """

    def __init__(self, opened: Callable[[], redis.Redis]) -> None:
        self._opened = opened  # with one connection, and a pool that holds no other
        self._idle: list[redis.Redis] = []
        self._process = os.getpid()

    def ask(self, command: Command) -> Any:
        """The reply to a command, which must be one that may be repeated."""
        if os.getpid() != self._process:  # a fork shares the connections with its parent, which goes on using them
            self._idle, self._process = [], os.getpid()
        try:
            line, is_new = self._idle.pop(), False
        except IndexError:
            line, is_new = self._opened(), True
        try:
            return self._asked(line, command)
        except redis.ConnectionError:
            if is_new:
                raise
        return self._asked(self._opened(), command)

    def _asked(self, line: redis.Redis, command: Command) -> Any:
        try:
            reply = line.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            self._keep(line)
            raise
        except BaseException:  # also if a page's time is up in the middle of a reply
            line.close()
            raise
        self._keep(line)
        return reply

    def _keep(self, line: redis.Redis) -> None:
        if len(self._idle) < LINES:
            self._idle.append(line)
        else:
            line.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Storefront(Reader):
    """A client for one process; threads may share it.

    Args:
        url: of Redis, e.g. `redis://reader:secret@host:6379/0`, or `rediss://...?ssl_ca_certs=/etc/ssl/shop-ca.pem`.
        prefix: of every key.
        cluster: whether the URL is that of a node of a Redis Cluster, which names the other nodes.
        reasons: whether to read reasons too; without them, half as many bytes are read.
        chances: whether to read the chances of `for_you` and the days of `buy_again` too, if the shop publishes them.
        whole: whether to return lists in full as they were published, with what is hidden or dismissed: for checks.
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
        whole: bool = False,
        raise_errors: bool = False,
        timeout: float = 0.5,
    ) -> None:
        super().__init__(prefix, reasons=reasons, chances=chances, whole=whole, raise_errors=raise_errors)
        named = _check_url(url, cluster=cluster)
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
        # A cluster's client chooses a node for each command. An URL that limits connections is obeyed by its pool.
        is_plain = not cluster and "max_connections" not in named
        self._lines = _Lines(partial(self._open, single_connection_client=True)) if is_plain else None

    @property
    def _redis(self) -> redis.Redis:
        # Made at first use: a cluster's client connects when it is made, and a shop must start without Redis.
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = self._open()
        return self._opened

    def for_customer(
        self,
        customer_id: int | str,
        *,
        list_name: CustomerList = "for_you",
        country: str | None = None,
        count: int | None = None,
        page: int = 1,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> Recommendation:
        """One list of a customer; if it is missing, the best sellers of their country, else of everywhere.

        Args:
            customer_id: the shop's. A float without a fraction, as tables make of ids, is that number.
            list_name: `for_you`, `discover` or `buy_again`.
            country: of the customer, as written on invoices.
            count: products to return; None: as many as the publication's `top_n` says.
            page: from 1; the next page goes on where the one before ends. A publication keeps some pages only.
            exclude: stock codes that the page shows already. Others take their places.
            rotate: any text, such as the day: reshuffles the list a little (`reading.rotated`). The same text and
                customer have the same order. None: best first.
            category: only its products, and those of the levels below it: `Kitchen`, or `Kitchen > Cups`. Best sellers
                of the category fill `for_you`, and take the place of a list that has none of them. None: any.

        Returns:
            The list; its `source` says where it comes from.

        Raises:
            ValueError: customers have no list of that name, or a count or page is below 1.
        """
        return self._read(of_customer(customer_id, list_name, country, view(count, page, exclude, rotate, category)))[0]

    def lists_of_customer(
        self,
        customer_id: int | str,
        *,
        country: str | None = None,
        count: int | None = None,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> dict[CustomerList, Recommendation]:
        """All lists of a customer in one round trip, each as `for_customer` returns it.

        A product may be on several of them: `for_page` shows each once.
        """
        ask = all_of_customer(customer_id, country, view(count, 1, exclude, rotate, category))
        return dict(zip(_names_of(ask), self._read(ask), strict=True))

    def for_visitor(
        self,
        *,
        list_name: VisitorList = "for_you",
        country: str | None = None,
        count: int | None = None,
        page: int = 1,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> Recommendation:
        """`for_you` (recent best sellers) or `new_arrivals`, for an unknown visitor.

        Raises:
            ValueError: visitors have no list of that name, or a count or page is below 1.
        """
        return self._read(of_visitor(list_name, country, view(count, page, exclude, rotate, category)))[0]

    def for_product(
        self,
        stock_code: str,
        *,
        list_name: ProductList = "bought_together",
        country: str | None = None,
        customer: int | str | None = None,
        count: int | None = None,
        page: int = 1,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> Recommendation:
        """Products that complete a basket with this one (`bought_together`), or could replace it (`similar`).

        Args:
            stock_code: of the product.
            list_name: `bought_together` or `similar`.
            country: what is hidden there is left out.
            customer: what this customer dismissed is left out.
            count: products to return; None: as many as the publication's `top_n` says.
            page: from 1.
            exclude: stock codes that the page shows already.
            rotate: as for `for_customer`.
            category: as for `for_customer`.

        Raises:
            ValueError: products have no list of that name, or a count or page is below 1.
        """
        shown = view(count, page, exclude, rotate, category)
        return self._read(of_product(stock_code, list_name, country, customer, shown))[0]

    def for_page(
        self,
        shelves: Sequence[PageList],
        *,
        customer: int | str | None = None,
        product: str | None = None,
        country: str | None = None,
        count: int | None = None,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> dict[PageList, Recommendation]:
        """All shelves of a page in one round trip. No product is on two of them: the upper shelf keeps it.

        Args:
            shelves: names of lists, from the top of the page: those of a customer, those of a product, `new_arrivals`.
            customer: None for an unknown visitor; best sellers then take the place of a customer's list.
            product: of whose lists `bought_together` and `similar` are.
            country: of the customer, as written on invoices.
            count: products of a shelf; None: as many as the publication's `top_n` says.
            exclude: stock codes that the page shows already.
            rotate: as for `for_customer`.
            category: as for `for_customer`.

        Returns:
            By the name of the list, in the order of `shelves`.

        Raises:
            ValueError: there is no list of a name, a name occurs twice, or a product's list is asked for without a
                product.
        """
        names, ask = of_page(shelves, customer, product, country, view(count, 1, exclude, rotate, category))
        return dict(zip(cast("tuple[PageList, ...]", names), self._read(ask), strict=True))

    def for_basket(
        self,
        stock_codes: Collection[str],
        *,
        customer: int | str | None = None,
        country: str | None = None,
        count: int | None = None,
        page: int = 1,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> Recommendation:
        """What goes with the products in a basket, in one round trip; nothing that is in it.

        Each product's `bought_together` votes, the customer's own `for_you` too, and best sellers fill the rest.

        Args:
            stock_codes: in the basket, in the order in which they were put in. The lists of the last
                `asking.MOST_IN_BASKET` are read.
            customer: None for an unknown visitor.
            country: of the customer, as written on invoices.
            count: products to return; None: as many as the publication's `top_n` says.
            page: from 1.
            exclude: stock codes that the page shows already.
            rotate: as for `for_customer`.
            category: as for `for_customer`.

        Returns:
            The list; its `source` is `basket` if a product of the basket has a list, else `customer`, or that of the
            best sellers.

        Raises:
            ValueError: one text in place of several stock codes, or a count or page is below 1.
        """
        return self._read(of_basket(stock_codes, customer, country, view(count, page, exclude, rotate, category)))[0]

    def dismiss(self, customer_id: int | str, stock_code: str, *, days: float = 90) -> bool:
        """Shows a customer a product no more: "not for me". All readers heed it within a second.

        The user of Redis needs the permission to write (docs/storefront.md); a reader's is not enough.

        Args:
            customer_id: the shop's.
            stock_code: of the product.
            days: after which lists may show it again, up to 3,650.

        Returns:
            Whether it is stored: not if one of them can be no id, or if Redis does not answer or refuses.

        Raises:
            ValueError: the days are not above 0 and up to 3,650.
        """
        commands = self._dismissal(customer_id, stock_code, days)
        if commands is None:
            return False
        try:
            for command in commands:
                self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except _FAULTS as error:
            self._refuse(error)
            return False
        self._begin_dismissing()
        return True

    def undismiss(self, customer_id: int | str, stock_code: str) -> bool:
        """Takes a dismissal back. Lists of later publications show the product again.

        Returns:
            Whether it was dismissed, and no longer is.
        """
        command = self._taken_back(customer_id, stock_code)
        if command is None:
            return False
        try:
            return bool(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]
        except _FAULTS as error:
            self._refuse(error)
            return False

    def viewed(self, stock_code: str, *, customer: int | str | None = None, session: str | None = None) -> bool:
        """Tells that a visitor looks at a product; `ncf-pipeline events take` stores it. docs/events.md says for what.

        The user of Redis needs the permission to add to the stream; a reader's is not enough.

        Args:
            stock_code: of the product.
            customer: the shop's id; None for a visitor without a login.
            session: of the visit: the same text until it ends. Only a hash of it is stored.

        Returns:
            Whether it is told: not if one of them can be no id, or if Redis does not answer or refuses.

        Raises:
            ValueError: neither a customer nor a session is given.
        """
        return self._tell(VIEW, stock_code, customer, session)

    def carted(self, stock_code: str, *, customer: int | str | None = None, session: str | None = None) -> bool:
        """Tells that a visitor puts a product into the basket. See `viewed`."""
        return self._tell(CART, stock_code, customer, session)

    def wished(self, stock_code: str, *, customer: int | str | None = None, session: str | None = None) -> bool:
        """Tells that a visitor puts a product onto a wish list. See `viewed`."""
        return self._tell(WISH, stock_code, customer, session)

    def _tell(self, kind: str, stock_code: str, customer: int | str | None, session: str | None) -> bool:
        command = self._told(kind, stock_code, customer, session)
        if command is None or self._is_left_alone():
            return False
        try:
            self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            self._refuse(error)
            return False
        except _FAULTS as error:  # a Redis that hangs must not delay every page
            self._fail(error)
            return False
        return True

    def meta(self) -> Mapping[str, str]:
        """The meta of the live publication; empty if nothing is published, or Redis does not answer."""
        try:
            held = self._hold(self._ask_all(self._state()))
            meta = self._meta(self._ask(("HGETALL", f"{held.start}meta"))) if held else {}
        except _FAULTS as error:
            self._fail(error)
            return {}
        return meta

    def close(self) -> None:
        """Closes the connections."""
        if self._lines is not None:
            self._lines.close()
        if self._opened is not None:
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, ask: Ask) -> list[Recommendation]:
        if self._is_left_alone():
            return unanswered(ask, "unavailable")
        try:
            held = self._live() or self._hold(self._ask_all(self._state()))
            if held is None:
                return unanswered(ask, "none")
            commands = self._commands(ask, held)
            answers = self._answers(ask, held, commands, self._ask_all(commands))
            if self._stood_still(ask, held, answers):
                held = self._hold(self._ask_all(self._state()))
                if held is None:
                    return unanswered(ask, "none")
                commands = self._commands(ask, held)
                answers = self._answers(ask, held, commands, self._ask_all(commands))
        except _FAULTS as error:
            self._fail(error)
            return unanswered(ask, "unavailable")
        return answers

    def _ask(self, command: Command) -> Any:
        try:
            if self._lines is not None:
                return self._lines.ask(command)
            return self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            return _broken(error, command)

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
            if _WRONG_TYPE not in str(error) and not isinstance(error, redis.exceptions.NoPermissionError):
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
        whole: bool = False,
        raise_errors: bool = False,
        timeout: float = 0.5,
    ) -> None:
        super().__init__(prefix, reasons=reasons, chances=chances, whole=whole, raise_errors=raise_errors)
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
        self,
        customer_id: int | str,
        *,
        list_name: CustomerList = "for_you",
        country: str | None = None,
        count: int | None = None,
        page: int = 1,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> Recommendation:
        """See `Storefront.for_customer`."""
        return (
            await self._read(of_customer(customer_id, list_name, country, view(count, page, exclude, rotate, category)))
        )[0]

    async def lists_of_customer(
        self,
        customer_id: int | str,
        *,
        country: str | None = None,
        count: int | None = None,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> dict[CustomerList, Recommendation]:
        """See `Storefront.lists_of_customer`."""
        ask = all_of_customer(customer_id, country, view(count, 1, exclude, rotate, category))
        return dict(zip(_names_of(ask), await self._read(ask), strict=True))

    async def for_visitor(
        self,
        *,
        list_name: VisitorList = "for_you",
        country: str | None = None,
        count: int | None = None,
        page: int = 1,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> Recommendation:
        """See `Storefront.for_visitor`."""
        return (await self._read(of_visitor(list_name, country, view(count, page, exclude, rotate, category))))[0]

    async def for_product(
        self,
        stock_code: str,
        *,
        list_name: ProductList = "bought_together",
        country: str | None = None,
        customer: int | str | None = None,
        count: int | None = None,
        page: int = 1,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> Recommendation:
        """See `Storefront.for_product`."""
        shown = view(count, page, exclude, rotate, category)
        return (await self._read(of_product(stock_code, list_name, country, customer, shown)))[0]

    async def for_page(
        self,
        shelves: Sequence[PageList],
        *,
        customer: int | str | None = None,
        product: str | None = None,
        country: str | None = None,
        count: int | None = None,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> dict[PageList, Recommendation]:
        """See `Storefront.for_page`."""
        names, ask = of_page(shelves, customer, product, country, view(count, 1, exclude, rotate, category))
        return dict(zip(cast("tuple[PageList, ...]", names), await self._read(ask), strict=True))

    async def for_basket(
        self,
        stock_codes: Collection[str],
        *,
        customer: int | str | None = None,
        country: str | None = None,
        count: int | None = None,
        page: int = 1,
        exclude: Collection[str] = (),
        rotate: str | None = None,
        category: str | None = None,
    ) -> Recommendation:
        """See `Storefront.for_basket`."""
        return (
            await self._read(of_basket(stock_codes, customer, country, view(count, page, exclude, rotate, category)))
        )[0]

    async def dismiss(self, customer_id: int | str, stock_code: str, *, days: float = 90) -> bool:
        """See `Storefront.dismiss`."""
        commands = self._dismissal(customer_id, stock_code, days)
        if commands is None:
            return False
        try:
            for command in commands:
                await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except _FAULTS as error:
            self._refuse(error)
            return False
        self._begin_dismissing()
        return True

    async def undismiss(self, customer_id: int | str, stock_code: str) -> bool:
        """See `Storefront.undismiss`."""
        command = self._taken_back(customer_id, stock_code)
        if command is None:
            return False
        try:
            return bool(await self._redis.execute_command(*command))  # type: ignore[no-untyped-call]
        except _FAULTS as error:
            self._refuse(error)
            return False

    async def viewed(self, stock_code: str, *, customer: int | str | None = None, session: str | None = None) -> bool:
        """See `Storefront.viewed`."""
        return await self._tell(VIEW, stock_code, customer, session)

    async def carted(self, stock_code: str, *, customer: int | str | None = None, session: str | None = None) -> bool:
        """See `Storefront.carted`."""
        return await self._tell(CART, stock_code, customer, session)

    async def wished(self, stock_code: str, *, customer: int | str | None = None, session: str | None = None) -> bool:
        """See `Storefront.wished`."""
        return await self._tell(WISH, stock_code, customer, session)

    async def _tell(self, kind: str, stock_code: str, customer: int | str | None, session: str | None) -> bool:
        command = self._told(kind, stock_code, customer, session)
        if command is None or self._is_left_alone():
            return False
        try:
            await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            self._refuse(error)
            return False
        except _FAULTS as error:  # a Redis that hangs must not delay every page
            self._fail(error)
            return False
        return True

    async def meta(self) -> Mapping[str, str]:
        """See `Storefront.meta`."""
        try:
            held = self._hold(await self._ask_all(self._state()))
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

    async def _read(self, ask: Ask) -> list[Recommendation]:
        if self._is_left_alone():
            return unanswered(ask, "unavailable")
        try:
            held = self._live() or self._hold(await self._ask_all(self._state()))
            if held is None:
                return unanswered(ask, "none")
            commands = self._commands(ask, held)
            answers = self._answers(ask, held, commands, await self._ask_all(commands))
            if self._stood_still(ask, held, answers):
                held = self._hold(await self._ask_all(self._state()))
                if held is None:
                    return unanswered(ask, "none")
                commands = self._commands(ask, held)
                answers = self._answers(ask, held, commands, await self._ask_all(commands))
        except _FAULTS as error:
            self._fail(error)
            return unanswered(ask, "unavailable")
        return answers

    async def _ask(self, command: Command) -> Any:
        ask: Any = self._redis.execute_command
        try:
            return await ask(*command)
        except redis.ResponseError as error:
            return _broken(error, command)

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
            if _WRONG_TYPE not in str(error) and not isinstance(error, redis.exceptions.NoPermissionError):
                raise
            return [await self._ask(command) for command in commands]
        return replies


def _broken(error: redis.ResponseError, command: Command) -> Broken:
    """What stands for the reply if a key is of another type, or may not be asked what is hidden.

    Any other error concerns all keys, and is raised.
    """
    if str(error).startswith(_WRONG_TYPE):
        return BROKEN
    if isinstance(error, redis.exceptions.NoPermissionError) and is_optional(command):
        return BROKEN
    raise error


def _names_of(ask: Ask) -> tuple[CustomerList, ...]:
    return cast("tuple[CustomerList, ...]", ask.questions[0].names)


def _check_url(url: str, *, cluster: bool) -> Mapping[str, Any]:
    """The parts of the URL."""
    named: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    if cluster and ("path" in named or named.get("db")):
        raise ValueError("a Redis Cluster has no socket file and only database 0: name a node by host and port")
    return named
