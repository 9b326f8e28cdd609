"""The Recommender page. The application that mounts it decides who may see it."""

import logging
import pathlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from ncf_pipeline import pages as web
from ncf_pipeline.alerts.messages import duration, instant
from ncf_pipeline.errors import DatabaseError, InputError, NcfError
from ncf_pipeline.evaluation.summary import difference, label, number, with_interval
from ncf_pipeline.ingest.customer_ids import is_possible, spelled
from ncf_pipeline.ingest.readers.cells import MAX_CUSTOMER
from ncf_pipeline.pages import locales, purchases
from ncf_pipeline.pages.error_pages import protect
from ncf_pipeline.pages.forms import Access, of_this_site
from ncf_pipeline.pages.headers import headers, policy
from ncf_pipeline.pages.money import money
from ncf_pipeline.pages.navigation import navigation
from ncf_pipeline.pages.recommender import bundles, experiments, products, quarantine, rules, trends, versions, work
from ncf_pipeline.pages.recommender.now import PATIENCE, now
from ncf_pipeline.pages.recommender.runbook import runbook
from ncf_pipeline.pages.recommender.sections import SECTIONS, Section
from ncf_pipeline.pages.recommender.versions import Deciding
from ncf_pipeline.pages.recommender.work import Desk
from ncf_pipeline.pages.shelves import Shelf, codes_of, item, shelf
from ncf_pipeline.privacy import masked
from ncf_pipeline.serving import customers
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront

logger = logging.getLogger(__name__)

_FOLDER = pathlib.Path(__file__).parent
# Airflow's UI shows the page in a frame. No other site may.
_POLICY = policy(
    style_src="'self'",
    script_src="'self'",
    connect_src="'self'",  # the sliders of a plan
    img_src="'self'",
    form_action="'self'",
    framed_by="'self'",
)

CUSTOMERS = "Recommender customers"
"""What a user needs read access to, to look customers up: a view of this name in Airflow's auth manager."""

_NOBODY: dict[str, Any] = {
    "customer_id": None,
    "customer": None,
    "shelves": (),
    "database_error": None,
    "is_away": False,
    "wrong": None,
    "bought": None,
    "currency": "",
    "places": 0,
    "names": {},
    "groups": (),
    "earlier": None,
    "after": "",
    "may_look": True,
    "permission": CUSTOMERS,
}
"""What the page of a customer shows before somebody is looked up."""

_templates = web.templates(_FOLDER)
_templates.env.filters.update(
    number=number,
    difference=difference,
    with_interval=with_interval,
    label=label,
    instant=instant,
    ago=lambda then, at: duration(at - then),
    masked=masked,
    money=money,
    named=lambda code, names: item(code, names).name,
)


def create_app(
    settings_of: Callable[[], Settings],
    *,
    seen_by: Sequence[Any] = (),
    sees_customers: Callable[..., bool] = lambda: True,
    desk: Desk | None = None,
    changes_rules: Access | None = None,
    settles_lines: Access | None = None,
    decides_versions: Deciding | None = None,
    runs_experiments: Access | None = None,
    log_in: Callable[[Request], Response] | None = None,
) -> FastAPI:
    """Makes the page an application, to be mounted at any path.

    Args:
        settings_of: returns the settings of the installation; called for each page.
        seen_by: dependencies that refuse users who may not see the page.
        sees_customers: dependency that says whether the user may look customers up.
        desk: knows the DAGs, and who may start and switch them; None without Airflow.
        changes_rules: who may change rules; everybody if None.
        decides_versions: who may decide which version serves; everybody if None.
        runs_experiments: who may start and stop experiments; everybody if None.
        settles_lines: who may see lines in quarantine and settle them; everybody if None.
        log_in: answers a person who is not logged in; None where nobody logs in.
    """

    def settings_here() -> Settings:
        """Reads the settings, and writes the page that is being answered by their locale."""
        settings = settings_of()
        locales.use(settings.locale)
        return settings

    app = FastAPI(title="Recommender", docs_url=None, redoc_url=None, openapi_url=None)
    # The page's style and script contain nothing about a shop.
    app.mount("/static", web.static_files(_FOLDER))
    app.include_router(_routes(settings_here, seen_by, sees_customers, desk))
    app.include_router(work.routes(desk, seen_by, _page))
    app.include_router(trends.routes(settings_here, desk, seen_by, _page))
    app.include_router(products.routes(settings_here, seen_by, sees_customers, CUSTOMERS, _page))
    anybody = Access(lambda: True, lambda: "somebody", secrets.token_bytes(32))
    app.include_router(rules.routes(settings_here, seen_by, changes_rules or anybody, _page))
    app.include_router(bundles.routes(settings_here, seen_by, changes_rules or anybody, _page))
    app.include_router(quarantine.routes(settings_here, seen_by, settles_lines or anybody, _page))
    app.include_router(experiments.routes(settings_here, seen_by, runs_experiments or anybody, _page))
    deciding = decides_versions or Deciding(anybody.may_change, anybody.who, anybody.key)
    app.include_router(versions.routes(settings_here, seen_by, sees_customers, deciding, _page, CUSTOMERS))
    protect(app, policy=_POLICY, show=_error_page, log_in=log_in)
    return app


def _routes(
    settings_of: Callable[[], Settings],
    seen_by: Sequence[Any],
    sees_customers: Callable[..., bool],
    desk: Desk | None,
) -> APIRouter:
    """Makes the routes. Every address in a page is relative."""
    SeesCustomers = Annotated[bool, Depends(sees_customers)]  # noqa: N806 - a type

    router = APIRouter(dependencies=list(seen_by))

    @router.get("/")
    def overview(request: Request, may_look: SeesCustomers) -> HTMLResponse:
        """The overview: what serves, what is broken, and each section."""
        settings = settings_of()
        at = datetime.now(UTC)
        top = now(settings, at)
        contents = {} if top.serving is None else {section.name: _read(section, settings) for section in SECTIONS}
        shown: dict[str, Any] = {"now": top, "at": at, "sections": SECTIONS, "contents": contents}
        shown["paused"] = work.paused(desk)
        return _page(request, "overview", **shown, may_look=may_look, permission=CUSTOMERS)

    @router.get("/runbook")
    def runbook_page(request: Request) -> HTMLResponse:
        """The runbook: what each alert means, and what to do."""
        url = settings_of().runbook_url
        is_this = url.rstrip("/").endswith("/recommender/runbook")
        of_the_shop = url if url.startswith("https://") and not is_this else None
        return _page(request, "runbook", text=Markup(runbook()), of_the_shop=of_the_shop)  # noqa: S704 - our own file

    @router.post("/customer", dependencies=[Depends(of_this_site)])
    def customer(
        request: Request,
        may_look: SeesCustomers,
        number: Annotated[str, Form()] = "",
        after: Annotated[str, Form(max_length=400)] = "",
        earlier: Annotated[bool, Form()] = False,
    ) -> HTMLResponse:
        """One customer's lists and purchases. The id is in the request's body, so that no log of addresses has it."""
        if not may_look:
            raise HTTPException(403, f"You may not look customers up. It needs the permission to read {CUSTOMERS}.")
        settings = settings_of()
        customer_id = spelled(number)
        if not is_possible(customer_id):
            wrong = f"A customer's id has up to {MAX_CUSTOMER} printable characters."
            return _page(request, "customer", status=422, **_NOBODY | {"wrong": wrong})
        try:
            looked_up = {"customer_id": customer_id, **_of_customer(settings, customer_id, after, earlier)}
        except InputError as error:
            raise HTTPException(422, str(error)) from error
        status = 503 if looked_up["is_away"] else 200
        return _page(request, "customer", status=status, **_NOBODY | looked_up)

    @router.get("/customer")
    def nobody(request: Request, may_look: SeesCustomers) -> HTMLResponse:
        """The form alone: the address of a look-up does not say which customer it was for."""
        return _page(request, "customer", **_NOBODY | {"may_look": may_look})

    return router


def _read(section: Section, settings: Settings) -> Mapping[str, Any]:
    """Reads what a section shows. If that fails, it shows the error, and the other sections are not affected."""
    try:
        return section.read(settings)
    except NcfError as error:
        logger.warning("%s", error)
        return {"error": settings.without_secrets(str(error))}


def _of_customer(settings: Settings, customer_id: str, after: str, earlier: bool) -> dict[str, Any]:
    """Reads a customer, their purchases, and their lists as the storefront reads them.

    Raises:
        InputError: there is no such page of purchases.
    """
    known, names, error = None, {}, None
    found: dict[str, Any] = {"after": after}
    try:
        known = purchases.customer(settings, customer_id)
        found["bought"] = customers.purchases(settings, customer_id, after)
        found["groups"] = customers.groups(settings, customer_id)
        if earlier:
            found["earlier"] = customers.earlier_lists(settings, customer_id)
    except DatabaseError as failure:
        error = settings.without_secrets(str(failure))
    with Storefront(
        settings.list_store(),
        prefix=settings.key_prefix,
        cluster=settings.redis_cluster,
        timeout=PATIENCE,
        chances=True,
    ) as shop:
        lists = shop.lists_of_customer(customer_id, country=known.country if known else None)
    if error is None:
        former = [
            codes for each in found.get("earlier") or () for kept in each.lists.values() for codes in kept.stock_codes
        ]
        bought = [line.stock_code for invoice in found["bought"].invoices for line in invoice.lines]
        names = purchases.products(settings, dict.fromkeys([*codes_of(lists.values()), *former, *bought]))
    shelves: list[Shelf] = [
        shelf("for-you", "For you", lists["for_you"], names),
        shelf("discover", "Discover", lists["discover"], names),
        shelf("buy-again", "Buy again", lists["buy_again"], names, empty="This customer has bought nothing yet."),
    ]
    shown = {"customer": known, "shelves": shelves, "database_error": error, "names": names}
    # Without Postgres there are still lists, and without Redis purchases. Without both there is nothing to show.
    is_away = error is not None and all(each.source == "unavailable" for each in lists.values())
    return {**found, **shown, "is_away": is_away, "currency": settings.currency, "places": settings.top_n}


def _page(request: Request, name: str, *, status: int = 200, root: str = "", **shown: Any) -> HTMLResponse:
    path = request.url.path.removeprefix(root_of(request))
    # Pictures are on other hosts, of which these pages load nothing.
    common = {"root": root, "navigation": navigation(path, root), "pictures": False}
    return _templates.TemplateResponse(
        request, f"{name}.html", {**common, **shown}, status_code=status, headers=headers(_POLICY)
    )


async def _error_page(request: Request, status: int, title: str, words: str) -> HTMLResponse:
    """An error may be at an address of any depth, from which no relative address leads."""
    return _page(request, "error", status=status, root=root_of(request), heading=title, words=words)


def login_page(request: Request, address: str) -> HTMLResponse:
    """Renders the page that leads to a login at this address."""
    return _page(request, "login", root=root_of(request), address=address)


def root_of(request: Request) -> str:
    """Returns the path at which the page is mounted, with a slash at its end."""
    return str(request.scope.get("root_path", "")) + "/"
