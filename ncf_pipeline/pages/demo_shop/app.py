"""The pages of the demo shop. They read lists from Redis as any shop would, and work without Redis and Postgres too.

A page loads nothing from another host and runs nothing: no scripts, no fonts, no pictures.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ncf_pipeline import pages as web
from ncf_pipeline.errors import DatabaseError, SettingsError
from ncf_pipeline.ingest.customer_ids import is_possible, spelled
from ncf_pipeline.ingest.readers.cells import MAX_CUSTOMER
from ncf_pipeline.pages import purchases
from ncf_pipeline.pages.error_pages import protect
from ncf_pipeline.pages.headers import headers, policy
from ncf_pipeline.pages.shelves import codes_of, item, shelf
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import AsyncStorefront

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
_POLICY = policy(style_src="'self'", form_action="'self'")

LOCAL = ("localhost", "127.0.0.1", "[::1]")
"""The names under which a browser on this machine opens the shop."""

_Answer = TypeVar("_Answer")


def quoted(text: str) -> str:
    """A text as a part of an address, slashes too.

    >>> quoted("x/y z@example.com")
    'x%2Fy%20z%40example.com'
    """
    return quote(text, safe="")


def create_app(settings: Settings, *, hosts: Sequence[str] = LOCAL) -> FastAPI:
    """Makes the demo shop of an installation.

    Args:
        settings: of the installation whose Redis and Postgres it reads.
        hosts: the names and addresses that a request may ask. Another site cannot make a browser read the shop by
            letting its own name lead to this machine.

    Raises:
        SettingsError: no Redis is set, or its URL is not a Redis URL.
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
    templates.env.filters["quoted"] = quoted

    async def read(query: Callable[..., _Answer], *arguments: Any) -> _Answer | None:
        """Asks Postgres; None if it does not answer, and then the page shows less."""
        try:
            return await run_in_threadpool(query, settings, *arguments)
        except DatabaseError as error:
            logger.warning("%s", error)
            return None

    async def page(request: Request, name: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
        shown["live"] = await shop.meta()
        return templates.TemplateResponse(request, f"{name}.html", shown, status_code=status, headers=headers(_POLICY))

    @app.get("/")
    async def home(request: Request, number: Annotated[str, Query(max_length=MAX_CUSTOMER)] = "") -> HTMLResponse:
        """The customers to choose from."""
        begins = _typed(number)
        customers = await read(purchases.customers, begins) or []
        return await page(request, "home", number=begins, customers=customers)

    @app.get("/go")
    async def go(number: Annotated[str, Query(max_length=MAX_CUSTOMER)] = "") -> RedirectResponse:
        """Leads to the customer with this id; if there is none, to those whose id begins with it."""
        customer_id = _typed(number)
        customer = await read(purchases.customer, customer_id) if customer_id else None
        place = f"/customers/{quoted(customer_id)}" if customer else f"/?number={quoted(customer_id)}"
        return RedirectResponse(place, status_code=303)

    # An id may contain slashes.
    @app.get("/customers/{customer_id:path}")
    async def customer(
        request: Request, customer_id: Annotated[str, InPath(min_length=1, max_length=MAX_CUSTOMER)]
    ) -> HTMLResponse:
        """A customer's three lists, and what they bought."""
        if not is_possible(customer_id):
            raise HTTPException(404, "There is no such customer.")
        known = await read(purchases.customer, customer_id)
        lists = await shop.lists_of_customer(customer_id, country=known.country if known else None)
        bought = await read(purchases.purchases, customer_id) or []
        codes = codes_of(lists.values()) + [each.stock_code for each in bought]
        names = await read(purchases.products, codes) or {}
        shelves = [
            shelf("for-you", "For you", lists["for_you"], names),
            shelf("discover", "Discover", lists["discover"], names),
            shelf("buy-again", "Buy again", lists["buy_again"], names, empty="This customer has bought nothing yet."),
        ]
        history = [(item(each.stock_code, names), each) for each in bought]
        return await page(
            request, "customer", customer_id=customer_id, customer=known, shelves=shelves, history=history
        )

    @app.get("/products/{stock_code}")
    async def product(request: Request, stock_code: Annotated[str, InPath(max_length=100)]) -> HTMLResponse:
        """A product, what customers buy together with it, and similar products."""
        code = stock_code.upper()
        together = await shop.for_product(code, list_name="bought_together")
        similar = await shop.for_product(code, list_name="similar")
        names = await read(purchases.products, [code, *codes_of([together, similar])]) or {}
        if code not in names and together.source == similar.source == "none":
            raise HTTPException(404, f"There is no product {code}.")
        shelves = [
            shelf(
                "together",
                "Bought together",
                together,
                names,
                empty="It is in too few baskets to know what goes with it.",
            ),
            shelf("similar", "Similar", similar, names, empty="No product is similar to it."),
        ]
        return await page(request, "product", product=item(code, names), shelves=shelves)

    @app.get("/visitors")
    async def visitor(request: Request, country: Annotated[str, Query(max_length=100)] = "") -> HTMLResponse:
        """What a visitor sees who is not logged in, with or without a known country."""
        best = await shop.for_visitor(list_name="for_you", country=country or None)
        new = await shop.for_visitor(list_name="new_arrivals", country=country or None)
        names = await read(purchases.products, codes_of([best, new])) or {}
        shelves = [shelf("best-sellers", "Best sellers", best, names), shelf("new", "New arrivals", new, names)]
        known = await read(purchases.countries) or []
        return await page(request, "visitor", country=country, countries=known, shelves=shelves)

    async def failed(request: Request, status: int, title: str, words: str) -> HTMLResponse:
        return await page(request, "error", status=status, heading=title, words=words)

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    protect(app, policy=_POLICY, show=failed)
    return app


def _typed(text: str) -> str:
    """The id that a person typed, in the spelling in which it is stored; empty if it can be none."""
    customer_id = spelled(text)
    return customer_id if is_possible(customer_id) else ""
