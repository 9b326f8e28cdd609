"""The demo's pages. Lists are read from Redis as any shop would; while it is away, everything else is still there.

Nothing on a page comes from elsewhere, and nothing in it runs: no scripts, no fonts, no pictures.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from ncf_pipeline import pages as web
from ncf_pipeline.errors import DatabaseError, SettingsError
from ncf_pipeline.pages import purchases
from ncf_pipeline.pages.shelves import codes_of, item, shelf
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import AsyncStorefront

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
_HEADERS = {
    **web.HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'",
}
_MAX_ID = 2**53

_Found = TypeVar("_Found")


def create_app(settings: Settings) -> FastAPI:
    """The demo shop of an installation.

    Args:
        settings: whose Redis and Postgres.

    Raises:
        SettingsError: no Redis is set, or the URL is none of a Redis.
    """
    try:
        shop = AsyncStorefront(settings.list_store(), prefix=settings.key_prefix, cluster=settings.redis_cluster)
    except ValueError as error:
        raise SettingsError(f"NCF_REDIS_URL: {error}.") from error

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with shop:
            yield

    app = FastAPI(title="Demo shop", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.mount("/static", web.static_files(_FOLDER), name="static")
    templates = web.templates(_FOLDER)

    async def read(ask: Callable[..., _Found], *arguments: Any) -> _Found | None:
        """What Postgres says; without it a page shows less, and is still a page."""
        try:
            return await run_in_threadpool(ask, settings, *arguments)
        except DatabaseError as error:
            logger.warning("%s", error)
            return None

    async def page(request: Request, name: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
        shown["live"] = await shop.meta()
        response = templates.TemplateResponse(request, f"{name}.html", shown, status_code=status)
        response.headers.update(_HEADERS)
        return response

    @app.get("/")
    async def home(request: Request, number: Annotated[str, Query(max_length=16)] = "") -> HTMLResponse:
        """Choose whom to be."""
        digits = "".join(sign for sign in number if sign in "0123456789")
        found = await read(purchases.customers, digits) or []
        return await page(request, "home", number=digits, customers=found)

    @app.get("/go")
    async def go(number: Annotated[str, Query(max_length=16)] = "") -> RedirectResponse:
        """To the customer who was typed in whole, else to all whose number begins like it."""
        digits = "".join(sign for sign in number if sign in "0123456789")
        whole = await read(purchases.customer, int(digits)) if digits else None
        return RedirectResponse(f"/customers/{int(digits)}" if whole else f"/?number={digits}", status_code=303)

    @app.get("/customers/{customer_id}")
    async def customer(request: Request, customer_id: Annotated[int, InPath(ge=1, le=_MAX_ID)]) -> HTMLResponse:
        """What they bought, and their three lists."""
        known = await read(purchases.customer, customer_id)
        lists = await shop.lists_of_customer(customer_id, country=known.country if known else None)
        bought = await read(purchases.purchases, customer_id) or []
        codes = codes_of(lists.values()) + [each.stock_code for each in bought]
        names = await read(purchases.products, codes) or {}
        shelves = [
            shelf("for-you", "For you", lists["for_you"], names),
            shelf("discover", "Discover", lists["discover"], names),
            shelf("buy-again", "Buy again", lists["buy_again"], names, empty="Nothing was bought yet."),
        ]
        history = [(item(each.stock_code, names), each) for each in bought]
        return await page(
            request, "customer", customer_id=customer_id, customer=known, shelves=shelves, history=history
        )

    @app.get("/products/{stock_code}")
    async def product(request: Request, stock_code: Annotated[str, InPath(max_length=100)]) -> HTMLResponse:
        """One product, what completes a basket with it, and what could stand in for it."""
        code = stock_code.upper()
        together = await shop.for_product(code, list_name="bought_together")
        similar = await shop.for_product(code, list_name="similar")
        names = await read(purchases.products, [code, *codes_of([together, similar])]) or {}
        if code not in names and together.source == similar.source == "none":
            raise HTTPException(404, f"There is no product {code}.")
        shelves = [
            shelf("together", "Bought together", together, names, empty="Too few baskets hold it to tell."),
            shelf("similar", "Similar", similar, names, empty="Nothing is like it."),
        ]
        return await page(request, "product", product=item(code, names), shelves=shelves)

    @app.get("/visitors")
    async def visitor(request: Request, country: Annotated[str, Query(max_length=100)] = "") -> HTMLResponse:
        """What somebody sees of whom nothing is known but, perhaps, the country."""
        best = await shop.for_visitor(list_name="for_you", country=country or None)
        new = await shop.for_visitor(list_name="new_arrivals", country=country or None)
        names = await read(purchases.products, codes_of([best, new])) or {}
        shelves = [shelf("best-sellers", "Best sellers", best, names), shelf("new", "New arrivals", new, names)]
        known = await read(purchases.countries) or []
        return await page(request, "visitor", country=country, countries=known, shelves=shelves)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> HTMLResponse:
        return await page(request, "error", status=error.status_code, reason=str(error.detail))

    return app
