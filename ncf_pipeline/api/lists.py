"""The routes that read lists. Each asks the storefront's client once."""

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from ncf_pipeline.api.problems import away, described
from ncf_pipeline.api.shapes import (
    Basket,
    Code,
    CustomerId,
    Page,
    PageLists,
    RecommendationList,
    Shown,
    ShownOfProduct,
    ShownPart,
)
from ncf_pipeline.ingest.customer_ids import spelled
from ncf_pipeline.storefront import AsyncStorefront, CustomerList, ProductList, Recommendation, VisitorList

_UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The list is the one whose ETag was sent in If-None-Match"}
}


def routes(shop: AsyncStorefront, listed: Callable[[str, str], None]) -> APIRouter:
    """Makes the routes.

    Args:
        shop: that reads Redis; it answers `unavailable` rather than raise.
        listed: is told the name and the source of each list that was read.
    """
    router = APIRouter(tags=["lists"])

    def answer(request: Request, found: Mapping[Any, Recommendation], *, several: bool = False) -> Response:
        for name, each in found.items():
            listed(name, each.source)
        return _answer(request, found, several=several)

    # An id may contain slashes: percent-encoded or not, it is all that stands between `customers` and the last `lists`.
    @router.get(
        "/customers/{customer_id:path}/lists/{list_name}",
        response_model=RecommendationList,
        responses={**_UNCHANGED, **described(404)},
    )
    async def list_of_customer(
        request: Request,
        customer_id: Annotated[CustomerId, Path()],
        list_name: CustomerList,
        shown: Annotated[ShownPart, Query()],
    ) -> Response:
        """A list of a customer; if it is missing, the best sellers of their country, else of everywhere."""
        found = await shop.for_customer(spelled(customer_id), list_name=list_name, **_part(shown))
        return answer(request, {list_name: found})

    @router.get(
        "/products/{stock_code:path}/lists/{list_name}",
        response_model=RecommendationList,
        responses={**_UNCHANGED, **described(404)},
    )
    async def list_of_product(
        request: Request,
        stock_code: Annotated[Code, Path()],
        list_name: ProductList,
        shown: Annotated[ShownOfProduct, Query()],
    ) -> Response:
        """Products that go with a product, or could replace it; none if the product is not known."""
        customer = spelled(shown.customer) if shown.customer is not None else None
        found = await shop.for_product(stock_code.upper(), list_name=list_name, customer=customer, **_part(shown))
        return answer(request, {list_name: found})

    @router.get(
        "/visitors/lists/{list_name}", response_model=RecommendationList, responses={**_UNCHANGED, **described(404)}
    )
    async def list_of_visitor(
        request: Request, list_name: VisitorList, shown: Annotated[ShownPart, Query()]
    ) -> Response:
        """Best sellers or new arrivals, for an unknown visitor."""
        return answer(request, {list_name: await shop.for_visitor(list_name=list_name, **_part(shown))})

    @router.post("/baskets", response_model=RecommendationList, responses=described(413))
    async def list_of_basket(request: Request, basket: Basket) -> Response:
        """What goes with a basket: nothing that is in it. Nothing is stored."""
        found = await shop.for_basket(basket.stock_codes, customer=_customer(basket.customer), **_part(basket))
        return answer(request, {"basket": found})

    @router.post("/pages", response_model=PageLists, responses=described(413))
    async def lists_of_page(request: Request, page: Page) -> Response:
        """All lists of a page, with no product on two of them. Nothing is stored."""
        product = page.product.upper() if page.product is not None else None
        found = await shop.for_page(page.shelves, customer=_customer(page.customer), product=product, **_whole(page))
        return answer(request, found, several=True)

    return router


def _customer(named: str | int | None) -> str | None:
    return None if named is None else spelled(str(named))


def _whole(shown: Shown) -> dict[str, Any]:
    exclude = [code.upper() for code in shown.exclude]
    return {
        "country": shown.country,
        "count": shown.count,
        "exclude": exclude,
        "rotate": shown.rotate,
        "category": shown.category,
    }


def _part(shown: ShownPart) -> dict[str, Any]:
    return {**_whole(shown), "page": shown.page}


def _answer(request: Request, found: Mapping[Any, Recommendation], *, several: bool = False) -> Response:
    """Lists as JSON; 304 if whoever asks has them already.

    The ETag names the publication and the answer itself, so it changes with whatever changes the answer: what is
    hidden, sold out or dismissed, and what was asked for.
    """
    if any(each.source == "unavailable" for each in found.values()):
        return away("Redis does not answer. Show your own best sellers meanwhile.")
    lists = {name: _as_dict(name, each) for name, each in found.items()}
    first = next(iter(lists.values()))
    content = json.dumps({"lists": lists} if several else first, ensure_ascii=False, separators=(",", ":")).encode()
    mark = hashlib.blake2b(content, digest_size=12).hexdigest()
    etag = f'"{first["publication"] or "none"}-{mark}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if request.method == "GET" and _has(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def _has(request: Request, etag: str) -> bool:
    sent = request.headers.get("if-none-match", "")
    return sent.strip() == "*" or etag in [each.strip().removeprefix("W/") for each in sent.split(",")]


def _as_dict(name: str, found: Recommendation) -> dict[str, Any]:
    beside = zip_longest(found.stock_codes, found.reasons, found.chances, found.due)
    products = []
    for code, reason, chance, due in beside:
        product: dict[str, Any] = {"stock_code": code}
        if reason is not None:
            product["reason"] = {"code": reason.code, "evidence": reason.evidence}
        if chance is not None:
            product["chance"] = chance
        if due is not None:
            product["due"] = due.isoformat()
        products.append(product)
    return {"name": name, "source": found.source, "publication": found.publication, "products": products}
