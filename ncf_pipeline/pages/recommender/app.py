"""What the Recommender page answers. Who may ask is the business of whoever serves it."""

import logging
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from markupsafe import Markup

from ncf_pipeline import pages as web
from ncf_pipeline.alerts.messages import duration, instant
from ncf_pipeline.errors import ArtifactError, DatabaseError, InputError, NcfError
from ncf_pipeline.evaluation.summary import difference, label, number, with_interval
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments import report as experiment_report
from ncf_pipeline.pages import purchases
from ncf_pipeline.pages.recommender.now import PATIENCE, now
from ncf_pipeline.pages.recommender.runbook import runbook
from ncf_pipeline.pages.recommender.sections import SECTIONS, Section
from ncf_pipeline.pages.shelves import Shelf, codes_of, shelf
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront

logger = logging.getLogger(__name__)

_FOLDER = pathlib.Path(__file__).parent
_HEADERS = {
    **web.HEADERS,
    # Airflow's own UI has the page in a frame; nobody else may.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
}
# An image of ours, whose style is its own; nothing in it may run, also for whoever opens it alone.
_FIGURE_HEADERS = {
    **web.HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'",
}
_MAX_ID = 2**53

Name = Annotated[str, Path(pattern="^[a-z][a-z0-9-]*$")]

_templates = web.templates(_FOLDER)
_templates.env.filters.update(
    number=number,
    difference=difference,
    with_interval=with_interval,
    label=label,
    instant=instant,
    day=lambda at: f"{at:%-d %b %Y}",
    ago=lambda then, at: duration(at - then),
)


def static_files() -> StaticFiles:
    """The page's style and its few lines of script, to be served under `static`; nothing of a shop is in them."""
    return web.static_files(_FOLDER)


def of_this_site(request: Request) -> None:
    """Lets nothing through that a page of another site makes a browser send.

    The browser's own word counts, and where it gives none (Fetch Metadata is for HTTPS and for this machine), the
    origin. A program that is no browser sends neither, and no cookie that somebody else could use.

    Raises:
        HTTPException: 403.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:
        site = "same-origin" if urlsplit(origin).netloc == request.headers.get("host") else "cross-site"
    if site not in (None, "same-origin"):
        raise HTTPException(403, "Asked by another site.")


def routes(
    settings_of: Callable[[], Settings], *, seen_by: Sequence[Any] = (), customers_seen_by: Sequence[Any] = ()
) -> APIRouter:
    """The pages: all addresses in them are relative, so that they may be served under any path.

    Args:
        settings_of: the installation's settings, asked for each page.
        seen_by: dependencies that let through who may see the page.
        customers_seen_by: those that let through who may also look up a customer.
    """
    router = APIRouter(dependencies=list(seen_by))

    @router.get("/")
    def overview(request: Request) -> HTMLResponse:
        """How things stand."""
        settings = settings_of()
        at = datetime.now(UTC)
        top = now(settings, at)
        shown = {} if top.serving is None else {section.name: _read(section, settings) for section in SECTIONS}
        return _page(request, "overview", now=top, at=at, sections=SECTIONS, shown_sections=shown)

    @router.get("/runbook")
    def runbook_page(request: Request) -> HTMLResponse:
        """What each alert means, and how to mend it."""
        elsewhere = settings_of().runbook_url
        is_this = elsewhere.rstrip("/").endswith("/recommender/runbook")
        named = elsewhere if elsewhere.startswith("https://") and not is_this else None
        return _page(request, "runbook", text=Markup(runbook()), elsewhere=named)  # noqa: S704 - made of our own file

    @router.get("/experiment-{name}")
    def experiment(request: Request, name: Name) -> HTMLResponse:
        """The newest report of an experiment."""
        settings = settings_of()
        try:
            entry = experiment_registry.experiment(settings, name)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        looks = experiment_registry.reports(settings, entry.number)
        shown = experiment_report.shown(entry, looks[-1]) if looks else None
        return _page(request, "experiment", entry=entry, looks=looks, shown=shown)

    @router.get("/experiment-{name}/{figure}.svg")
    def experiment_figure(name: Name, figure: Literal["effect", "baskets"]) -> Response:
        """A figure of that report."""
        try:
            content = experiment_report.read_figure(settings_of(), name, f"{figure}.svg")
        except ArtifactError as error:
            raise HTTPException(404, str(error)) from error
        return Response(content, media_type="image/svg+xml", headers=_FIGURE_HEADERS)

    @router.post("/customer", dependencies=[Depends(of_this_site), *customers_seen_by])
    def customer(request: Request, number: Annotated[str, Form()] = "") -> HTMLResponse:
        """One customer's lists. Their number comes in the body, so that no log of addresses has it."""
        settings = settings_of()
        digits = number.strip()
        if not (re.fullmatch("[0-9]{1,16}", digits) and 0 < int(digits) <= _MAX_ID):
            wrong = "A customer's number has digits and nothing else."
            nobody: dict[str, Any] = {"customer_id": None, "customer": None, "shelves": [], "database_error": None}
            return _page(request, "customer", status=422, wrong=wrong, **nobody)
        return _page(request, "customer", customer_id=int(digits), wrong=None, **_of_customer(settings, int(digits)))

    @router.get("/customer")
    def nobody() -> RedirectResponse:
        """Whoever comes back to the address of a look-up: whom it was about is not in it."""
        return RedirectResponse("./#customer", status_code=303)

    return router


def _read(section: Section, settings: Settings) -> Mapping[str, Any]:
    """What a section shows; the others are shown without it."""
    try:
        return section.read(settings)
    except NcfError as error:
        logger.warning("%s", error)
        return {"error": settings.without_secrets(str(error))}


def _of_customer(settings: Settings, customer_id: int) -> dict[str, Any]:
    """What is known of a customer, and their lists as the storefront reads them."""
    known, names, error = None, {}, None
    try:
        known = purchases.customer(settings, customer_id)
    except DatabaseError as problem:
        error = settings.without_secrets(str(problem))
    with Storefront(
        settings.list_store(), prefix=settings.key_prefix, cluster=settings.redis_cluster, timeout=PATIENCE
    ) as shop:
        lists = shop.lists_of_customer(customer_id, country=known.country if known else None)
    if error is None:
        names = purchases.products(settings, codes_of(lists.values()))
    shelves: list[Shelf] = [
        shelf("for-you", "For you", lists["for_you"], names),
        shelf("discover", "Discover", lists["discover"], names),
        shelf("buy-again", "Buy again", lists["buy_again"], names, empty="Nothing was bought yet."),
    ]
    return {"customer": known, "shelves": shelves, "database_error": error}


def _page(request: Request, name: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
    return _templates.TemplateResponse(request, f"{name}.html", shown, status_code=status, headers=_HEADERS)
