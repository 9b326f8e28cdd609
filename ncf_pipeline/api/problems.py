"""What is answered if a request fails: one shape for all, `application/problem+json` (RFC 9457)."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Scope

from ncf_pipeline.errors import DatabaseError, InputError, ListStoreError, SettingsError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1
"""After so long a client may ask again, if a server behind this one did not answer."""

_WORDS = {  # what the framework says of itself is no sentence
    HTTPStatus.NOT_FOUND.phrase: "There is nothing under this address. /openapi.json says what there is.",
    HTTPStatus.METHOD_NOT_ALLOWED.phrase: "This address does not take such a request: see the header Allow.",
}
_UNREADABLE = "There was an error parsing the body"
_PROBLEMS = {
    401: "No key, or a wrong one",
    403: "The key may not do this",
    404: "There is no such list or address",
    413: "The body is too long",
    422: "A value is not valid",
    429: "Too many requests with this key; the header Retry-After says when to ask again",
    503: "Redis or Postgres does not answer; the header Retry-After says when to ask again",
}


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of errors, for routes.

    Args:
        statuses: those besides what any route may answer.
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _PROBLEMS[status], "content": {"application/problem+json": {"schema": schema}}}
        for status in sorted({401, 422, 429, 503, *statuses})
    }


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what is wrong.

    Args:
        status: of HTTP.
        detail: one line for a person.
        headers: more of them.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    content = json.dumps(body, ensure_ascii=False).encode()
    kept = {"Cache-Control": "no-store", **(headers or {})}
    return Response(content, status_code=status, headers=kept, media_type="application/problem+json")


def away(detail: str) -> Response:
    """What is answered while a server behind this one does not answer."""
    return problem(503, detail, {"Retry-After": str(RETRY_SECONDS)})


def answer_errors(app: FastAPI) -> None:
    """Has an application answer each error in the shape of `problem`."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        words, headers = str(error.detail), error.headers
        if words == _UNREADABLE:
            return problem(422, "The body is no JSON in UTF-8.")
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": ", ".join(sorted(_methods_at(app, request.scope)))}
        return problem(error.status_code, _WORDS.get(words, words), headers)

    @app.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        # An address with a list that there is not is an address that there is not.
        return problem(404 if all(each["loc"][0] == "path" for each in found) else 422, _said(found))

    @app.exception_handler(InputError)
    async def not_possible(_: Request, error: Exception) -> Response:
        return problem(422, str(error))

    @app.exception_handler(DatabaseError)
    async def no_database(_: Request, error: Exception) -> Response:
        logger.warning("%s", error)
        return away("Postgres does not answer. Nothing changed.")

    @app.exception_handler(ListStoreError)
    async def no_list_store(_: Request, error: Exception) -> Response:
        logger.warning("%s", error)
        return away("Redis does not answer.")

    @app.exception_handler(SettingsError)
    async def not_set(_: Request, error: Exception) -> Response:
        logger.warning("%s", error)
        return problem(503, "This API is not connected to the shop's database: NCF_DATABASE_URL is not set.")

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:  # the server logs it
        return problem(500, "An error of this program. Its log says more.")


def _methods_at(app: FastAPI, scope: Scope) -> set[str]:
    """What may be done with an address. Each route knows only its own methods."""
    found: set[str] = set()
    for route in app.routes:
        if isinstance(route, Route) and route.matches(scope)[0] is Match.PARTIAL:
            found |= route.methods or set()
    return found


def _said(errors: Sequence[Any]) -> str:
    """What is wrong, in one line. What was sent is not repeated: it may be a customer's id."""
    said = []
    for each in errors[:3]:
        where = ".".join(str(part) for part in each["loc"][1:] if not isinstance(part, int)) or "the body"
        if each["type"] == "json_invalid":
            said.append("The body is no JSON")
        elif each["loc"] == ("body",) and each["type"] in ("model_attributes_type", "missing"):
            said.append("The body is no JSON object: send one, with the header Content-Type: application/json")
        elif each["type"] == "extra_forbidden":
            said.append(f"{where}: there is no such parameter")
        elif each["type"] == "string_pattern_mismatch":
            said.append(f"{where}: has control characters, or spaces around it")
        else:
            said.append(f"{where}: {each['msg'].removeprefix('Value error, ')}")
    more = len(errors) - len(said)
    return "; ".join(said) + (f"; and {more} more." if more else ".")
