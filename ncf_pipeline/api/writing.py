"""The routes that write: what is hidden, by the stages of the commands, what customers dismiss, what visitors do."""

from typing import Annotated

import redis
from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from redis.exceptions import RedisClusterException

from ncf_pipeline.api.guard import writer
from ncf_pipeline.api.keys import Key
from ncf_pipeline.api.problems import away, described, problem
from ncf_pipeline.api.shapes import (
    Dismissal,
    Dismissals,
    Dismissed,
    DismissedProduct,
    Hidden,
    HiddenProduct,
    HiddenProducts,
    Hiding,
    Stored,
    Told,
    Unhidden,
    Unhiding,
)
from ncf_pipeline.columns import CART, VIEW, WISH
from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.ingest.customer_ids import spelled
from ncf_pipeline.serving import dismissals as dismissing
from ncf_pipeline.serving import hiding
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import AsyncStorefront
from ncf_pipeline.storefront.asking import code_of, key_of

Writer = Annotated[Key, Depends(writer)]

_NO_ID = "The customer or the stock code can be no id."


def routes(settings: Settings, shop: AsyncStorefront, strict: AsyncStorefront) -> APIRouter:
    """Makes the routes.

    Args:
        settings: whose Redis and Postgres.
        shop: that lists are read with, so that it heeds a dismissal at once.
        strict: a client that raises errors.
    """
    router = APIRouter(dependencies=[Depends(writer)])

    @router.get("/hidden", tags=["hidden"], response_model=HiddenProducts, responses=described(403))
    async def what_is_hidden() -> HiddenProducts:
        """What is hidden now: by whom, since when and until when; and what is sold out."""

        def read() -> HiddenProducts:
            products = [HiddenProduct(**each.as_dict()) for each in hiding.hidden_products(settings)]
            return HiddenProducts(hidden=products, sold_out=hiding.sold_out(settings))

        return await run_in_threadpool(read)

    @router.put("/hidden", tags=["hidden"], response_model=Hidden, responses=described(403, 413))
    async def hide(wanted: Hiding, key: Writer) -> Hidden | Response:
        """Hides products from all lists within seconds; as `ncf-pipeline hide` does."""
        codes = list(dict.fromkeys(code.upper() for code in wanted.stock_codes))

        def write() -> list[str]:
            return hiding.hide(
                settings,
                codes,
                actor=_actor(key),
                country=wanted.country,
                until=wanted.until,
                why=wanted.why,
            )

        try:
            unknown = await run_in_threadpool(write)
        except ListStoreError:
            return away("It is stored, but Redis does not answer: it is hidden with the next watch, within 15 minutes.")
        return Hidden(hidden=codes, unknown=unknown)

    @router.delete("/hidden", tags=["hidden"], response_model=Unhidden, responses=described(403))
    async def unhide(wanted: Annotated[Unhiding, Query()], key: Writer) -> Unhidden | Response:
        """Shows products again that were hidden; as `ncf-pipeline unhide` does."""
        codes = list(dict.fromkeys(code.upper() for code in wanted.stock_code))

        def write() -> list[str]:
            return hiding.unhide(settings, codes, actor=_actor(key), country=wanted.country)

        try:
            not_hidden = await run_in_threadpool(write)
        except ListStoreError:
            return away("It is stored, but Redis does not answer: it is shown with the next watch, within 15 minutes.")
        return Unhidden(shown=[code for code in codes if code not in not_hidden], not_hidden=not_hidden)

    @router.get("/dismissals", tags=["dismissals"], response_model=Dismissals, responses=described(403))
    async def most_dismissed(limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> Dismissals:
        """How many customers dismissed each product, the most dismissed first. It names no customer."""
        counted = await run_in_threadpool(dismissing.customers_by_product, settings)
        most = sorted(counted, key=lambda code: (-counted[code], code))[:limit]
        found = [DismissedProduct(stock_code=code, customers=counted[code]) for code in most]
        return Dismissals(products=len(counted), dismissals=found)

    @router.post("/dismissals", tags=["dismissals"], response_model=Stored, responses=described(403, 413))
    async def dismiss(wanted: Dismissal) -> Stored | Response:
        """Shows a customer a product no more: "not for me". All lists heed it within a second."""
        customer = spelled(str(wanted.customer))
        if key_of("customer", customer) is None or code_of(wanted.stock_code) is None or not customer:
            return problem(422, _NO_ID)
        if not await shop.dismiss(customer, wanted.stock_code, days=wanted.days):
            return away("It was not stored: Redis does not answer, or this API may not write there.")
        return Stored(stored=True)

    @router.delete("/dismissals", tags=["dismissals"], response_model=Stored, responses=described(403))
    async def undismiss(wanted: Annotated[Dismissed, Query()]) -> Stored | Response:
        """Takes a dismissal back."""
        try:
            return Stored(stored=await strict.undismiss(spelled(wanted.customer), wanted.stock_code))
        except (redis.RedisError, RedisClusterException, OSError):
            return away("It was not taken back: Redis does not answer, or this API may not write there.")

    @router.post("/events", tags=["events"], response_model=Stored, responses=described(403, 413))
    async def tell(wanted: Told) -> Stored | Response:
        """Tells that a visitor viewed a product, put it into the basket or wished it; docs/events.md."""
        tells = {VIEW: shop.viewed, CART: shop.carted, WISH: shop.wished}[wanted.kind]
        customer = spelled(str(wanted.customer)) if wanted.customer is not None else None
        if customer == "" or code_of(wanted.stock_code) is None:
            return problem(422, _NO_ID)
        if not await tells(wanted.stock_code, customer=customer, session=wanted.session):
            return away("It was not stored: Redis does not answer, or this API may not write there.")
        return Stored(stored=True)

    return router


def _actor(key: Key) -> str:
    return f"API, {key.name}"
