"""The page of products: find one, and see its lists, its sales, its rules, and who is shown it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from ncf_pipeline.columns import BOUGHT_TOGETHER, BUY_AGAIN, DISCOVER, FOR_YOU, NEW_ARRIVALS, SIMILAR
from ncf_pipeline.errors import DatabaseError, InputError, NcfError
from ncf_pipeline.ingest.customer_ids import is_possible, spelled
from ncf_pipeline.ingest.readers.cells import MAX_CUSTOMER
from ncf_pipeline.pages import purchases
from ncf_pipeline.pages.forms import of_this_site
from ncf_pipeline.pages.locales import day
from ncf_pipeline.pages.money import money
from ncf_pipeline.pages.purchases import Product
from ncf_pipeline.pages.recommender.charts import Chart, Series, Value, chart, thinned
from ncf_pipeline.pages.recommender.now import PATIENCE
from ncf_pipeline.pages.recommender.work import Show
from ncf_pipeline.pages.shelves import Shelf, codes_of, item, shelf
from ncf_pipeline.serving import products
from ncf_pipeline.serving.products import Week
from ncf_pipeline.serving.rules.values import Rule, canonical
from ncf_pipeline.serving.sales import RANKED
from ncf_pipeline.serving.why import why
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront

logger = logging.getLogger(__name__)

MOST_CUSTOMERS = 50_000
"""In a larger shop, the page scores nobody again: that would need the memory of a worker."""

_MOST_COUNTRIES = 12
_TITLES = {
    FOR_YOU: "For you", DISCOVER: "Discover", BUY_AGAIN: "Buy again", BOUGHT_TOGETHER: "Bought together",
    SIMILAR: "Similar", NEW_ARRIVALS: "New arrivals",
}  # fmt: skip


def routes(
    settings_of: Callable[[], Settings],
    seen_by: Sequence[Any],
    sees_customers: Callable[..., bool],
    permission: str,
    show: Show,
) -> APIRouter:
    """Makes the routes of the pages.

    Args:
        settings_of: returns the settings of the installation.
        seen_by: dependencies that refuse users who may not see the pages.
        sees_customers: dependency that says whether the user may look customers up.
        permission: what that needs, by name.
        show: renders a template.
    """
    SeesCustomers = Annotated[bool, Depends(sees_customers)]  # noqa: N806 - a type
    router = APIRouter(dependencies=list(seen_by))

    @router.get("/products")
    def products_page(
        request: Request,
        may_look: SeesCustomers,
        find: Annotated[str, Query(max_length=200)] = "",
        after: Annotated[str, Query(max_length=200)] = "",
        product: Annotated[str, Query(max_length=200)] = "",
    ) -> HTMLResponse:
        """A search for products; or one product, also if the search has its whole code."""
        settings = settings_of()
        try:
            if product.strip():
                asking: dict[str, Any] = {"may_look": may_look, "permission": permission}
                return show(request, "product", **contents(settings, product), **asking)
            found = products.search(settings, find, after=after)
            code = canonical(find)
            if code in (each.stock_code for each in found.products) and not (after or found.meant):
                asking = {"may_look": may_look, "permission": permission}
                return show(request, "product", **contents(settings, code), **asking)
            items = [_item(each.stock_code, each.description) for each in found.products]
            return show(
                request, "products", find=find.strip(), after=after, found=found, items=items, wrong=None,
                database_error=None, shelves=(),
            )  # fmt: skip
        except InputError as error:
            nothing: dict[str, Any] = {"found": None, "items": (), "database_error": None, "after": "", "shelves": ()}
            return show(request, "products", status=404, find=product.strip(), wrong=str(error), **nothing)
        except DatabaseError as error:
            logger.warning("%s", error)
            nothing = {"found": None, "items": (), "wrong": None, "after": ""}
            nothing["database_error"] = settings.without_secrets(str(error))
            left = _left(settings, product) if product.strip() else ()
            asked = {"find": find or product, "shelves": left, "product": canonical(product)}
            return show(request, "products", status=200 if left else 503, **asked, **nothing)

    @router.post("/products-why", dependencies=[Depends(of_this_site)])
    def why_page(
        request: Request,
        may_look: SeesCustomers,
        product: Annotated[str, Form(max_length=200)],
        number: Annotated[str, Form(max_length=300)] = "",
    ) -> HTMLResponse:
        """Why a customer is, or is not, shown a product. The id is in the request's body, and in no address."""
        if not may_look:
            raise HTTPException(403, f"You may not look customers up. It needs the permission to read {permission}.")
        settings = settings_of()
        shown: dict[str, Any] = {
            "code": product, "item": _item(product, product), "number": number, "found": None, "wrong": None,
            "database_error": None, "titles": _TITLES,
        }  # fmt: skip
        if not is_possible(spelled(number)):
            wrong = f"A customer's id has up to {MAX_CUSTOMER} printable characters."
            return show(request, "why", status=422, **shown | {"wrong": wrong})
        try:
            found = why(settings, number, product, most_customers=MOST_CUSTOMERS)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        except DatabaseError as error:
            logger.warning("%s", error)
            said = settings.without_secrets(str(error))
            return show(request, "why", status=503, **shown | {"database_error": said})
        named = {"item": _item(found.stock_code, found.description), "code": found.stock_code}
        return show(request, "why", **shown | named | {"found": found})

    return router


@dataclass(frozen=True)
class Sold:
    """What a product sold, for a page that is about something else.

    Attributes:
        words: its price when it was last sold, and when that was; that it never was.
        chart: its takings by week; None if it sold nothing in these weeks.
    """

    words: str
    chart: Chart | None


def sold(settings: Settings, stock_code: str) -> Sold | None:
    """What a product sold; None if the shop has no such product, or no description of it.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    found = products.sales(settings, stock_code)
    if found is None:
        return None
    drawn = _charts(found.weeks, settings.currency)
    words = "never sold"
    if found.price is not None and found.sold_at is not None:
        words = f"{money(found.price, settings.currency)} when it was last sold, on {day(found.sold_at)}"
    return Sold(words, drawn[0][2] if drawn else None)


def contents(settings: Settings, stock_code: str) -> dict[str, Any]:
    """What the page of a product shows.

    Raises:
        InputError: the shop has no such product.
        DatabaseError: Postgres does not answer.
    """
    product = products.product(settings, stock_code)
    shown, shown_error = None, None
    try:
        shown = products.shown(settings, product.stock_code)
    except DatabaseError:
        raise
    except NcfError as error:
        logger.warning("%s", error)
        shown_error = settings.without_secrets(str(error))
    shelves, redis_is_away = _shelves(settings, product.stock_code)
    today = datetime.now(UTC).date()
    return {
        "product": product,
        "item": _item(product.stock_code, product.description, product.price, settings.currency),
        "family": [_item(each.stock_code, each.description) for each in product.family],
        "charts": _charts(product.weeks, settings.currency),
        "weeks": [(week, money(week.takings, settings.currency)) for week in reversed(product.weeks)],
        "ranked": RANKED,
        "rules": [_rule(rule, product.stock_code, today) for rule in product.rules],
        "limits": product.limits_in_words(today, lambda amount: money(amount, settings.currency)),
        "shown": shown,
        "shown_error": shown_error,
        "countries": shown.countries[:_MOST_COUNTRIES] if shown else (),
        "titles": _TITLES,
        "shelves": shelves,
        "redis_is_away": redis_is_away,
    }


def _rule(rule: Rule, stock_code: str, today: date) -> tuple[str, str, str | None]:
    """A rule without the page's product, its state and its note."""
    state = "over" if rule.is_over(today) else "not yet" if rule.begins_later(today) else ""
    return str(rule).removeprefix(f"{stock_code} "), state, rule.note


def _left(settings: Settings, stock_code: str) -> Sequence[Shelf]:
    """A product's lists without Postgres: by codes instead of names; none if Redis is away too."""
    shelves, redis_is_away = _shelves(settings, canonical(stock_code.replace("\x00", "")), named=False)
    return () if redis_is_away else shelves


def _shelves(settings: Settings, stock_code: str, *, named: bool = True) -> tuple[list[Shelf], bool]:
    """A product's lists as the shop reads them now, with names from Postgres or not, and whether Redis is away."""
    with Storefront(
        settings.list_store(), prefix=settings.key_prefix, cluster=settings.redis_cluster, timeout=PATIENCE
    ) as shop:
        lists = {name: shop.for_product(stock_code, list_name=name) for name in (BOUGHT_TOGETHER, SIMILAR)}
    names = purchases.products(settings, codes_of(lists.values())) if named else {}
    shelves = [
        shelf(name.replace("_", "-"), _TITLES[name], found, names, empty="No product belongs to it.")
        for name, found in lists.items()
    ]
    return shelves, any(found.source == "unavailable" for found in lists.values())


def _charts(weeks: Sequence[Week], currency: str) -> list[tuple[str, str, Chart]]:
    """A product's takings and its place among all products, week by week; each with its anchor and what it shows."""
    if not any(week.invoices for week in weeks):
        return []
    labels = thinned([f"{week.begins:%Y-%m-%d}" for week in weeks])
    best = max(weeks, key=lambda week: week.takings)
    sold = [Value(number, max(week.takings, 0.0), None, None, "") for number, week in enumerate(weeks)]
    words = (
        f"{len(weeks)} weeks from {weeks[0].begins} to {weeks[-1].begins}, in all "
        f"{money(sum(week.takings for week in weeks), currency)}. The most is {money(best.takings, currency)} in the "
        f"week of {best.begins}; the last week has {money(weeks[-1].takings, currency)}."
    )
    drawn = [("takings", "What it sold for, by week", chart("Takings by week", words, labels, [Series("lists", sold)]))]
    ranked = [(number, week) for number, week in enumerate(weeks) if week.place is not None]
    if ranked:
        top = min(ranked, key=lambda each: each[1].place or 0)[1]
        words = (
            f"It has a place in {len(ranked)} of {len(weeks)} weeks. The best is {top.place}, in the week of "
            f"{top.begins}; the newest is {ranked[-1][1].place}, in the week of {ranked[-1][1].begins}."
        )
        places = [Value(number, float(week.place or 0), None, None, "") for number, week in ranked]
        rank = chart("Place by week", words, labels, [Series("second", places)], first_on_top=True)
        drawn.append(("place", "Its place among all products, by takings", rank))
    return drawn


def _item(stock_code: str, description: str, price: float | None = None, currency: str = "GBP") -> Any:
    return item(stock_code, {stock_code: Product(stock_code, description, price, currency)})
