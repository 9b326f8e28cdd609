"""Errors, as a page for people and as JSON for programs. Neither says where the server keeps what."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ncf_pipeline.errors import (
    DatabaseUnavailableError,
    InputError,
    ListStoreUnavailableError,
    NcfError,
    PassingError,
    StoreUnavailableError,
)
from ncf_pipeline.pages.headers import SafeHeaders, headers
from ncf_pipeline.storage.connections import kept_connections

logger = logging.getLogger(__name__)

_TITLES = {
    400: "This request cannot be read",
    401: "You are not logged in",
    403: "You may not do this",
    404: "Not found",
    405: "Not possible here",
    409: "Not now",
    422: "This address is not valid",
    503: "Away for a moment",
}
_WORDS = {
    # What the framework says of itself tells a person nothing.
    HTTPStatus.NOT_FOUND.phrase: "There is no such page.",
    HTTPStatus.FORBIDDEN.phrase: "You are logged in, but you may not see this. Ask whoever administers Airflow.",
    HTTPStatus.METHOD_NOT_ALLOWED.phrase: "This address does not answer such a request.",
}

_SERVERS = {
    DatabaseUnavailableError: "Postgres",
    ListStoreUnavailableError: "Redis",
    StoreUnavailableError: "The store of models and reports",
}
"""What a person calls the server that is away. Its address, which the error has, is for the log."""

Show = Callable[[Request, int, str, str], Awaitable[Response]]
"""Renders an error: of a request, a status, a title and words."""


def wants_page(request: Request) -> bool:
    """Tells a person's browser, which asks for a page, from a program."""
    return "text/html" in request.headers.get("accept", "")


def protect(app: FastAPI, *, policy: str, show: Show, log_in: Callable[[Request], Response] | None = None) -> None:
    """Gives every answer of an application the headers that protect it, and answers its errors.

    Its pages share connections to Postgres (`kept_connections`).

    Args:
        app: the application.
        policy: the Content-Security-Policy of answers that have none of their own.
        show: renders an error as a page.
        log_in: answers a person who is not logged in; None where nobody logs in.
    """
    app.add_middleware(SafeHeaders, policy=policy)
    app.add_middleware(_KeptConnections)

    async def answer(request: Request, status: int, words: str) -> Response:
        if not wants_page(request):
            return JSONResponse({"detail": words}, status_code=status, headers=headers(policy))
        return await show(request, status, _TITLES.get(status, "Something failed"), _WORDS.get(words, words))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if log_in is not None and wants_page(request) and _is_of_nobody(error):
            return log_in(request)
        response = await answer(request, error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Response:
        # What was sent is not repeated: it may be a customer's id.
        wrong = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return await answer(request, 422, f"{wrong}.")

    @app.exception_handler(NcfError)
    async def failed(request: Request, error: NcfError) -> Response:
        if isinstance(error, InputError):  # what was sent is not logged: it may be a customer's id
            return await answer(request, 422, str(error))
        logger.error("%s", error)
        if isinstance(error, PassingError):
            away = next((f"{name} does not answer, or is busy. " for kind, name in _SERVERS.items()
                         if isinstance(error, kind)), "")  # fmt: skip
            return await answer(
                request, 503, f"{away}This cannot be read now. Try again in a minute; the server's log says why."
            )
        return await answer(request, 500, "This cannot be read. The server's log says why.")

    @app.exception_handler(Exception)
    async def broken(request: Request, _: Exception) -> Response:
        return await answer(request, 500, "This page failed. Nothing was changed. The server's log says why.")


class _KeptConnections:
    """Middleware: the transactions of a page use connections to Postgres that earlier pages opened."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with kept_connections():
            await self._app(scope, receive, send)


def _is_of_nobody(error: HTTPException) -> bool:
    """Whether somebody has to log in first. To Airflow, a token that it does not know is forbidden."""
    return error.status_code == 401 or (error.status_code == 403 and error.detail == "Invalid JWT token")
