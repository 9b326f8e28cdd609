"""The page of bundles: products that sell together, and the button that pins one of them beside another."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.pages import purchases
from ncf_pipeline.pages.forms import Access, form_token
from ncf_pipeline.pages.money import money
from ncf_pipeline.pages.recommender.rules import RULES, Countries, Show
from ncf_pipeline.pages.shelves import Item, item
from ncf_pipeline.serving.bundles import FoundBundle, found_bundles, invoices_in, may_be_counted
from ncf_pipeline.serving.rules import changes
from ncf_pipeline.serving.rules.values import PINNED_BESIDE
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

SHOWN = 15
"""Most bundles on a page."""

By = Literal["revenue", "invoices", "confidence", "lift"]
Kind = Literal["", "same", "different", "without"]

_SECONDS, _KEPT = 300, 20


class _InCountries:
    """How many invoices bundles have in a country, counted once in five minutes: that reads the country's lines."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, object], tuple[float, Mapping[int, int]]] = {}

    def of(self, settings: Settings, country: str, found_at: object) -> Mapping[int, int]:
        """By place. `found_at` tells one search for bundles from another."""
        with self._lock:
            until, invoices = self._counted.get((country, found_at), (0.0, {}))
            if time.monotonic() > until:
                if len(self._counted) >= _KEPT:
                    self._counted.clear()
                invoices = invoices_in(settings, country)
                self._counted[country, found_at] = (time.monotonic() + _SECONDS, invoices)
            return invoices


def routes(settings_of: Callable[[], Settings], seen_by: Sequence[Any], access: Access, show: Show) -> APIRouter:
    """Makes the route of the page.

    Args:
        settings_of: returns the settings of the installation.
        seen_by: dependencies that refuse users who may not see the page.
        access: who may change rules; a pinned pair is one, and is saved by the page of rules.
        show: renders a template.
    """
    MayChange = Annotated[bool, Depends(access.may_change)]  # noqa: N806 - a type
    Who = Annotated[str, Depends(access.who)]  # noqa: N806
    router = APIRouter(dependencies=list(seen_by))
    countries_of, counted = Countries(), _InCountries()

    @router.get("/bundles")
    def bundles_page(
        request: Request,
        may_change: MayChange,
        who: Who,
        by: By = "revenue",
        kind: Kind = "",
        country: Annotated[str, Query(max_length=200)] = "",
        after: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    ) -> HTMLResponse:
        """Bundles, the strongest first, with the forms to pin a pair."""
        settings = settings_of()
        try:
            shown = _contents(settings, countries_of, counted, by, kind, country, after)
        except DatabaseError as error:
            logger.warning("%s", error)
            return show(request, "bundles", status=503, database_error=settings.without_secrets(str(error)))
        shown |= {"may_change": may_change, "permission": RULES, "token": form_token(access.key, who)}
        return show(request, "bundles", database_error=None, **shown)

    return router


def _contents(
    settings: Settings,
    countries_of: Countries,
    counted: _InCountries,
    by: By,
    kind: Kind,
    country: str,
    after: int | None,
) -> dict[str, Any]:
    """What the page shows."""
    every = found_bundles(settings)
    may_count = bool(every) and may_be_counted(settings)
    countries = countries_of.of(settings) if may_count else ()
    here: Mapping[int, int] = {}
    if country in countries:
        here = counted.of(settings, country, every[0].found_at)
    else:
        country = ""
    chosen = [each for each in every if (not kind or each.kind == kind) and (not country or each.place in here)]
    chosen.sort(key=lambda each: (-_measure(each, by, here), each.place))
    places = [each.place for each in chosen]
    first = places.index(after) + 1 if after in places else 0
    rows = chosen[first : first + SHOWN]
    codes = dict.fromkeys(code for each in rows for code in each.bundle.stock_codes)
    names = purchases.products(settings, codes)
    return {
        "rows": [_row(each, names, settings.currency) for each in rows],
        "count": len(chosen),
        "of_all": len(every),
        "as_of": every[0].as_of if every else None,
        "found_at": every[0].found_at if every else None,
        "has_categories": any(each.categories for each in every),
        "countries": countries,
        "here": here,
        "by": by,
        "kind": kind,
        "country": country,
        "is_later": first > 0,
        "next_after": rows[-1].place if first + SHOWN < len(chosen) else None,
        "pinned": {(rule.beside, rule.stock_code) for rule in changes.rules(settings) if rule.kind == PINNED_BESIDE},
        "pinned_beside": PINNED_BESIDE,
        "seen": changes.newest_change(settings),
    }


def _measure(found: FoundBundle, by: By, here: Mapping[int, int]) -> float:
    """What bundles are ordered by; with a country, its invoices in place of all."""
    if by == "invoices" and here:
        return here[found.place]
    return float(getattr(found.bundle, by))


def _row(found: FoundBundle, names: Mapping[str, purchases.Product], currency: str) -> dict[str, Any]:
    items: list[Item] = [item(code, names) for code in found.bundle.stock_codes]
    prices = [each.price for each in items if each.price is not None]
    return {
        "found": found,
        "bundle": found.bundle,
        "items": items,
        "together": money(sum(prices), currency) if len(prices) == len(items) else None,
        "revenue": money(found.bundle.revenue, currency),
    }
