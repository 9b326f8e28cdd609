"""The application: routes over the storefront's client, behind a guard."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import limits
import redis
from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from redis.exceptions import RedisClusterException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ncf_pipeline import __version__
from ncf_pipeline.api import lists, writing
from ncf_pipeline.api.guard import OPEN, Guard, log
from ncf_pipeline.api.keys import Key, Role
from ncf_pipeline.api.metrics import Metrics
from ncf_pipeline.api.problems import answer_errors, away, described
from ncf_pipeline.api.shapes import Health, Problem, Ready
from ncf_pipeline.errors import SettingsError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import AsyncStorefront

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
"""Addresses that only this machine reaches."""

_ABOUT = """The lists of an online shop's recommender, for storefronts that may not open Redis.

Send a key with each request: `Authorization: Bearer KEY`. Errors are `application/problem+json`, with one line in
`detail`. After a 429 or a 503, wait for as many seconds as `Retry-After` says.
"""


def create_app(settings: Settings, keys: Callable[[], Sequence[Key]] | None, *, log_requests: bool = True) -> FastAPI:
    """Makes the API of an installation.

    Args:
        settings: whose Redis and Postgres. It starts without either, and answers 503 until they are there.
        keys: returns those that are valid now, such as `keys.RenewedKeys`; None lets anybody ask who reaches
            it under a name of this machine.
        log_requests: whether a line is logged for each answer.

    Raises:
        SettingsError: no Redis is set, its URL is not one, or a limit is none.
    """
    shop, strict = (_client(settings, raise_errors=raising) for raising in (False, True))

    metrics = Metrics(lambda: shop.statistics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with shop, strict:
            yield

    app = FastAPI(
        title="Recommendations",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # its page would load programs from another host
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )

    @app.get("/health", tags=["operations"], response_model=Health)
    async def health() -> Health:
        """Whether this process answers. It asks nobody else."""
        return Health(status="ok")

    @app.get("/ready", tags=["operations"], response_model=Ready, responses={503: described()[503]})
    async def ready() -> Ready | Response:
        """Whether Redis answers, so that lists can be read."""
        try:
            meta = await strict.meta()
        except (redis.RedisError, RedisClusterException, OSError):
            return away("Redis does not answer.")
        return Ready(status="ok", model_version=meta.get("model_version"))

    @app.get("/metrics", include_in_schema=False)
    async def for_prometheus() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    bearer = HTTPBearer(auto_error=False, description="A key of the API.")  # for OpenAPI: the guard has looked at it
    app.include_router(lists.routes(shop, metrics.listed), dependencies=[Depends(bearer)])
    app.include_router(writing.routes(settings, shop, strict), dependencies=[Depends(bearer)])
    answer_errors(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    if keys is None:  # no other site may lead a browser of this machine here
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK), www_redirect=False)
    done = [metrics.answered, log] if log_requests else [metrics.answered]
    app.add_middleware(Guard, keys=keys, limits=_limits(settings), done=done)
    return app


def _client(settings: Settings, *, raise_errors: bool) -> AsyncStorefront:
    try:
        return AsyncStorefront(
            settings.list_store(),
            prefix=settings.key_prefix,
            cluster=settings.redis_cluster,
            chances=settings.chances or settings.due,
            raise_errors=raise_errors,
        )
    except ValueError as error:
        raise SettingsError(f"NCF_REDIS_URL: {error}.") from error


def _limits(settings: Settings) -> dict[Role, limits.RateLimitItem]:
    """Raises: SettingsError: a limit is none."""
    wanted: dict[Role, str] = {"reader": settings.api_reader_limit, "writer": settings.api_writer_limit}
    found: dict[Role, limits.RateLimitItem] = {}
    for role, text in wanted.items():
        try:
            found[role] = limits.parse(text)
        except ValueError as error:
            raise SettingsError(
                f"NCF_API_{role.upper()}_LIMIT: {text!r} is no limit, such as 6000/minute or 100/second."
            ) from error
    return found


def _openapi(app: FastAPI) -> dict[str, Any]:
    """What the API takes and answers, as OpenAPI 3.1."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        shapes = schema["components"]["schemas"]
        shapes["Problem"] = Problem.model_json_schema()
        # The framework's own shape of errors, which this API does not answer.
        shapes.pop("HTTPValidationError", None)
        shapes.pop("ValidationError", None)
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                if path in OPEN:
                    operation["responses"].pop("422", None)
        app.openapi_schema = schema
    return app.openapi_schema
