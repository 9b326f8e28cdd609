"""What stands before every route: keys, limits, the length of bodies, the log. Pure ASGI, so that bodies come last."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ncf_pipeline.api.keys import ANYBODY, Key, Role, owner_of
from ncf_pipeline.api.problems import away, problem

logger = logging.getLogger(__name__)

OPEN = frozenset({"/health", "/ready", "/metrics", "/openapi.json"})
"""Addresses that need no key."""

LONGEST_BODY = 128 * 1024
"""Bytes."""

BODY_SECONDS = 10
"""A body that has not come by then is not waited for."""

MOST_AT_ONCE = 200
"""Requests that are answered at the same time: more would wait longer than a page does."""

Done = Callable[[Scope, int, float], None]
"""Is told of each answer: the request, the status, and the seconds that it took."""


class Guard:
    """Lets requests through that have a key, are not too many and not too long, and logs each answer.

    Limits are counted in this process: each process of the API lets as many through.

    Args:
        app: what answers them.
        keys: returns those that are valid now; None if anybody may ask.
        limits: requests with one key, by its role.
        done: see `Done`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Callable[[], Sequence[Key]] | None,
        limits: dict[Role, RateLimitItem],
        done: Sequence[Done],
    ) -> None:
        self.app, self._keys, self._limits, self._done = app, keys, limits, done
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        self._at_once += 1
        try:
            body = await self._refusal(scope) or await _body(scope, receive)
            if isinstance(body, Response):
                await body(scope, receive, sent)
            elif body is not None:  # else nobody waits for an answer any more
                await self.app(scope, _again(body, receive), sent)
        finally:
            self._at_once -= 1
            seconds = time.perf_counter() - begun
            for done in self._done:
                done(scope, status, seconds)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Why a request is not answered; None if it is."""
        if scope["path"] in OPEN:
            return None
        owner = ANYBODY if self._keys is None else owner_of(Headers(scope=scope).get("authorization"), self._keys())
        if owner is None:
            said = "Send a key of this API in the header Authorization: Bearer KEY. A key in the address is not read."
            return problem(401, said, {"WWW-Authenticate": "Bearer"})
        scope.setdefault("state", {})["key"] = owner
        if self._at_once > MOST_AT_ONCE:
            return away("This server answers too many requests at the same time.")
        limit = self._limits[owner.role]
        if not await self._limiter.hit(limit, owner.name):
            window = await self._limiter.get_window_stats(limit, owner.name)
            wait = max(1, math.ceil(window.reset_time - time.time()))
            return problem(429, f"More than {limit} with this key.", {"Retry-After": str(wait)})
        return None


def writer(request: Request) -> Key:
    """The key of a request that may write.

    Raises:
        HTTPException: 403, if it may not.
    """
    key: Key = request.state.key
    if key.role != "writer":
        raise HTTPException(403, "This key may only read. Send a writer's key.")
    return key


def asked(scope: Scope) -> str:
    """The address that was asked for, without what names a customer or a product."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        return str(route).replace(":path}", "}")
    return scope["path"] if scope["path"] in OPEN else "(no such address)"


def log(scope: Scope, status: int, seconds: float) -> None:
    """Writes a line for an answer. It names neither the customer nor the key."""
    key: Key | None = scope.get("state", {}).get("key")
    who = f"{key.role} {key.name}" if key is not None else "-"
    logger.info("%s %s %d %.1f ms %s", scope["method"], asked(scope), status, seconds * 1000, who)


async def _body(scope: Scope, receive: Receive) -> bytes | Response | None:
    """The body of a request; an answer if it is too long or too slow; None if whoever asked is gone."""
    length = Headers(scope=scope).get("content-length", "0")
    too_long = problem(413, f"The body has more than {LONGEST_BODY:,} bytes.", {"Connection": "close"})
    if length.isdigit() and int(length) > LONGEST_BODY:
        return too_long
    body: bytes = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > LONGEST_BODY:
                    return too_long
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        return problem(408, f"The body did not come within {BODY_SECONDS} seconds.", {"Connection": "close"})


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read to whoever reads it next."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read
