"""The pages of the demo shop. They read lists from Redis as any shop would, and work without Redis and Postgres too.

A page runs nothing, and loads nothing from another host but the pictures that the shop's catalogue names: no scripts,
no fonts.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Depends, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ncf_pipeline import pages as web
from ncf_pipeline.errors import DatabaseError, SettingsError
from ncf_pipeline.ingest.customer_ids import is_possible, spelled
from ncf_pipeline.ingest.readers.cells import MAX_CUSTOMER
from ncf_pipeline.pages import locales, purchases
from ncf_pipeline.pages.error_pages import protect
from ncf_pipeline.pages.forms import of_this_site
from ncf_pipeline.pages.headers import headers, policy
from ncf_pipeline.pages.shelves import Item, codes_of, item, shelf
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import AsyncStorefront

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
_ALLOWED = {"style_src": "'self'", "form_action": "'self'"}
_POLICY = policy(**_ALLOWED)

LOCAL = ("localhost", "127.0.0.1", "[::1]")
"""The names under which a browser on this machine opens the shop."""

_LONGEST_CODE, _LONGEST_BASKET, _LONGEST_FORM, _LONGEST_CATEGORY = 100, 50, 4096, 300
_NOTHING_BOUGHT = "This customer has bought nothing yet."

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

    async def by_locale() -> None:
        """Lets each page be written by the shop's locale."""
        locales.use(settings.locale)

    written = [Depends(by_locale)]
    app = FastAPI(
        dependencies=written, title="Demo shop", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
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
        shown["pictures"] = True
        sites = sorted({origin for each in _items(shown) if (origin := each.origin) is not None})
        allowed = policy(**_ALLOWED, img_src=" ".join(sites)) if sites else _POLICY
        return templates.TemplateResponse(request, f"{name}.html", shown, status_code=status, headers=headers(allowed))

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
        request: Request,
        customer_id: Annotated[str, InPath(min_length=1, max_length=MAX_CUSTOMER)],
        dismissed: Annotated[str, Query(max_length=_LONGEST_CODE)] = "",
        category: Annotated[str, Query(max_length=_LONGEST_CATEGORY)] = "",
    ) -> HTMLResponse:
        """A customer's three lists, of a category or of all, and what they bought."""
        if not is_possible(customer_id):
            raise HTTPException(404, "There is no such customer.")
        known = await read(purchases.customer, customer_id)
        # One round trip, and no product is on two shelves.
        lists = await shop.for_page(
            ["for_you", "discover", "buy_again"],
            customer=customer_id,
            country=known.country if known else None,
            category=category or None,
        )
        bought = await read(purchases.purchases, customer_id) or []
        codes = codes_of(lists.values()) + [each.stock_code for each in bought] + ([dismissed] if dismissed else [])
        names = await read(purchases.products, codes) or {}
        above = "The shelves above show it all." if not category else "Nothing else of this category."
        shelves = [
            shelf("for-you", "For you", lists["for_you"], names),
            shelf("discover", "Discover", lists["discover"], names, empty=above),
            shelf("buy-again", "Buy again", lists["buy_again"], names, empty=above if bought else _NOTHING_BOUGHT),
        ]
        history = [(item(each.stock_code, names), each) for each in bought]
        return await page(
            request,
            "customer",
            customer_id=customer_id,
            customer=known,
            shelves=shelves,
            history=history,
            category=category,
            categories=await read(purchases.categories) or [],
            dismissed=item(dismissed, names) if dismissed else None,
        )

    @app.post("/dismiss", dependencies=[Depends(of_this_site)])
    async def dismiss(request: Request) -> RedirectResponse:
        """Stores that a customer does not want to see a product: "not for me"."""
        customer_id, code = await _posted(request)
        if not await shop.dismiss(customer_id, code):
            raise HTTPException(503, "It was not stored, because Redis does not answer. Try again in a minute.")
        return RedirectResponse(f"/customers/{quoted(customer_id)}?dismissed={quoted(code)}", status_code=303)

    @app.post("/undismiss", dependencies=[Depends(of_this_site)])
    async def undismiss(request: Request) -> RedirectResponse:
        """Takes that back."""
        customer_id, code = await _posted(request)
        await shop.undismiss(customer_id, code)
        return RedirectResponse(f"/customers/{quoted(customer_id)}", status_code=303)

    @app.get("/basket")
    async def basket(
        request: Request,
        code: Annotated[list[str], Query(max_length=_LONGEST_BASKET)] = [],  # noqa: B006 - FastAPI copies it
        customer: Annotated[str, Query(max_length=MAX_CUSTOMER)] = "",
    ) -> HTMLResponse:
        """A basket, which its address holds, and what goes with it."""
        codes = list(dict.fromkeys(each.strip().upper()[:_LONGEST_CODE] for each in code if each.strip()))
        customer_id = _typed(customer)
        known = await read(purchases.customer, customer_id) if customer_id else None
        found = await shop.for_basket(codes, customer=customer_id or None, country=known.country if known else None)
        names = await read(purchases.products, [*codes, *codes_of([found])]) or {}
        title = "Goes with your basket" if codes else "To begin with"
        return await page(
            request,
            "basket",
            customer_id=customer_id,
            items=[item(each, names) for each in codes],
            without={each: _address([other for other in codes if other != each], customer_id) for each in codes},
            with_code={each: _address([*codes, each], customer_id) for each in found.stock_codes},
            shelves=[shelf("goes-with", title, found, names)],
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
    async def visitor(
        request: Request,
        country: Annotated[str, Query(max_length=100)] = "",
        category: Annotated[str, Query(max_length=_LONGEST_CATEGORY)] = "",
    ) -> HTMLResponse:
        """What a visitor sees who is not logged in, with or without a known country, of a category or of all."""
        best = await shop.for_visitor(list_name="for_you", country=country or None, category=category or None)
        new = await shop.for_visitor(list_name="new_arrivals", country=country or None, category=category or None)
        names = await read(purchases.products, codes_of([best, new])) or {}
        none = "No product is on this list."
        shelves = [
            shelf(anchor, title, found, names, empty=none, of_visitors=True)
            for anchor, title, found in (("best-sellers", "Best sellers", best), ("new", "New arrivals", new))
        ]
        return await page(
            request,
            "visitor",
            country=country,
            countries=await read(purchases.countries) or [],
            category=category,
            categories=await read(purchases.categories) or [],
            shelves=shelves,
        )

    async def failed(request: Request, status: int, title: str, words: str) -> HTMLResponse:
        return await page(request, "error", status=status, heading=title, words=words)

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    protect(app, policy=_POLICY, show=failed)
    return app


def _items(shown: Mapping[str, Any]) -> Iterator[Item]:
    """The products that a page shows."""
    for each in shown.get("shelves", ()):
        yield from each.items
    yield from shown.get("items", ())
    yield from (each for each, _ in shown.get("history", ()))
    if "product" in shown:
        yield shown["product"]


async def _posted(request: Request) -> tuple[str, str]:
    """The customer and the stock code of a form of this shop."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413, "This form is too long.")
    fields = dict(parse_qsl(body.decode(errors="replace")))
    customer_id, code = _typed(fields.get("customer", "")), fields.get("stock_code", "").strip().upper()
    if not customer_id or not 0 < len(code) <= _LONGEST_CODE:
        raise HTTPException(422, "The form names no customer, or no product.")
    return customer_id, code


def _address(codes: Sequence[str], customer_id: str) -> str:
    """The address of a basket."""
    asked = [("code", code) for code in codes] + ([("customer", customer_id)] if customer_id else [])
    return f"/basket?{urlencode(asked)}" if asked else "/basket"


def _typed(text: str) -> str:
    """The id that a person typed, in the spelling in which it is stored; empty if it can be none."""
    customer_id = spelled(text)
    return customer_id if is_possible(customer_id) else ""
