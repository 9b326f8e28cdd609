"""The page of a merchandiser's rules: what lists leave out, show in some countries only, and have on top."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Query, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ncf_pipeline.columns import FOR_YOU
from ncf_pipeline.errors import ChangedMeanwhileError, DatabaseError, InputError, ListStoreError, NcfError
from ncf_pipeline.pages.forms import Access, form_token, of_this_site, sender
from ncf_pipeline.pages.locales import count, percent
from ncf_pipeline.pages.purchases import Product
from ncf_pipeline.pages.recommender.products import sold
from ncf_pipeline.pages.shelves import Item, item
from ncf_pipeline.serving import hiding, products
from ncf_pipeline.serving.appearances import MOST_FOR_COUNTRIES
from ncf_pipeline.serving.hiding import HiddenProduct
from ncf_pipeline.serving.rules import changes, files, previews
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.checks import findings_among
from ncf_pipeline.serving.rules.previews import Preview
from ncf_pipeline.serving.rules.values import (
    LEAVES_OUT,
    ONLY_IN,
    PINNED,
    PINNED_BESIDE,
    PINNED_LISTS,
    Rule,
    canonical,
    known,
    parsed,
    parsed_limits,
    reason_of,
)
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

logger = logging.getLogger(__name__)

RULES = "Recommender rules"
"""What a user needs edit access to, to change rules: a view of this name in Airflow's auth manager."""

SHOWN, FOUND, PAST = 40, 20, 10
"""Most rules on a page, products that a search finds, and changes."""

_TOLD, _NAMED = 20, 20
_FIELDS = (*files.COLUMNS, "reason", "how", "max_per_family", "min_price")
_MANY_WORDS = 8
_SECONDS = 300
REFRESH = {
    "started": "refresh_lists is running: shoppers see it when that run ends.",
    "paused": "refresh_lists is switched off in Airflow. Switch it on, so that its run can begin.",
    "refused": "You may not start refresh_lists. Shoppers see it with the next refresh.",
}
"""What became of the refresh that somebody asked for."""


AT_ONCE, LATER = "hidden at once", "later"
"""What the form to hide a product at once is called; what is stored, and not yet known to readers."""


class Countries:
    """The countries of a shop, found out once in five minutes: the question reads every line of its invoices."""

    def __init__(self) -> None:
        """Knows none yet."""
        self._found: dict[str, tuple[tuple[str, ...], float]] = {}

    def of(self, settings: Settings) -> tuple[str, ...]:
        """The countries in which somebody ordered, in alphabetical order. A shop without any is asked again."""
        found, until = self._found.get(settings.database(), ((), 0.0))
        if not found or time.monotonic() > until:
            found = known(settings, ()).countries
            self._found = {settings.database(): (found, time.monotonic() + _SECONDS)}
        return found


class Show(Protocol):
    """Renders a template as an answer."""

    def __call__(self, request: Request, name: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
        """Renders `templates/NAME.html` with what it shows."""


@dataclass(frozen=True)
class Shown:
    """A rule as the page shows it.

    Attributes:
        rule: what it says.
        item: its product.
        state: `over`, `later`, or empty if it is in force.
    """

    rule: Rule
    item: Item
    state: str


def routes(settings_of: Callable[[], Settings], seen_by: Sequence[Any], access: Access, show: Show) -> APIRouter:
    """Makes the routes of the page.

    Args:
        settings_of: returns the settings of the installation.
        seen_by: dependencies that refuse users who may not see the page.
        access: who may change rules.
        show: renders a template.
    """
    MayChange = Annotated[bool, Depends(access.may_change)]  # noqa: N806 - a type
    Who = Annotated[str, Depends(access.who)]  # noqa: N806

    Sender = Annotated[str, Depends(sender(access, "change rules", RULES))]  # noqa: N806
    router = APIRouter(dependencies=list(seen_by))
    changing = APIRouter(dependencies=[*seen_by, Depends(of_this_site)])
    countries_of = Countries()

    def page(request: Request, may_change: bool, who: str, *, status: int = 200, **asked: Any) -> HTMLResponse:
        settings = settings_of()
        try:
            shown = _contents(settings, countries_of.of(settings), **asked)
        except DatabaseError as error:
            logger.warning("%s", error)
            away = {"database_error": settings.without_secrets(str(error)), "may_change": may_change}
            return show(request, "rules", status=503, **away)
        common = {"may_change": may_change, "permission": RULES, "token": form_token(access.key, who)}
        return show(request, "rules", status=status, database_error=None, **common, **shown)

    def answer(request: Request, who: str, act: Callable[[Settings], int | str | None], **asked: Any) -> Response:
        """Does what a form asks for: a change, or an address to go on with. A mistake leads back to the form."""
        product = asked.get("product") or ""
        try:
            made = act(settings_of())
            if isinstance(made, str):
                return RedirectResponse(made, 303)
        except ChangedMeanwhileError as error:
            return page(request, True, who, status=409, wrong=str(error).splitlines(), **asked)
        except InputError as error:
            asked["unmatched"] = isinstance(error, UnmatchedError)
            return page(request, True, who, status=422, wrong=str(error).splitlines(), **asked)
        told: dict[str, Any] = {"product": product, "saved": 0 if made is None else made}
        return RedirectResponse(f"rules?{urlencode({name: text for name, text in told.items() if text != ''})}", 303)

    def changed(
        request: Request, who: str, settings: Settings, change: Change, reason: str, seen: int, then: str
    ) -> int | str | None:
        """Makes a change, or asks first what it would do; then returns the address of that preview."""
        why = reason_of(reason)
        if then != "preview":
            return changes.apply(settings, change, actor=who, reason=why, seen=seen)
        asked = previews.ask(settings, change, asked_by=who, reason=why, seen=seen)
        try:
            begins = access.start is None or access.start(request, "preview_rules", {"preview": asked})
        except HTTPException:
            previews.drop(settings, asked)  # nobody would ever compute it
            raise
        return f"rules-preview-{asked}" if begins else f"rules-preview-{asked}?paused=true"

    @router.get("/rules")
    def rules_page(
        request: Request,
        may_change: MayChange,
        who: Who,
        find: Annotated[str, Query(max_length=200)] = "",
        product: Annotated[str, Query(max_length=200)] = "",
        after: Annotated[str, Query(max_length=200)] = "",
        before: Annotated[int | None, Query(ge=1, lt=2**62)] = None,
        saved: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
        hid: Annotated[str, Query(max_length=200)] = "",
        showed: Annotated[bool, Query()] = False,
        when: Annotated[str, Query(max_length=10)] = "",
    ) -> HTMLResponse:
        """The rules, the forms to change them, and who changed them."""
        asked: dict[str, Any] = {"find": find, "product": product, "after": after, "before": before, "saved": saved}
        asked |= {"hid": hid, "showed": showed, "is_later": when == LATER}
        return page(request, may_change, who, **asked)

    @router.get("/rules.csv")
    def download() -> Response:
        """Every rule that is not over, as a file for a spreadsheet."""
        today = _today()
        # The mark at the beginning tells Excel that it is UTF-8.
        content = "\ufeff" + files.written(changes.rules(settings_of()), today=today)
        name = f"rules-{today}.csv"
        return Response(
            content,
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @changing.post("/rules-save")
    def save(
        request: Request,
        who: Sender,
        rule: Annotated[str, Form()] = "",
        stock_code: Annotated[str, Form()] = "",
        countries: Annotated[list[str] | None, Form()] = None,
        list_name: Annotated[str, Form(alias="list")] = "",
        position: Annotated[str, Form()] = "",
        begins: Annotated[str, Form(alias="from")] = "",
        until: Annotated[str, Form()] = "",
        note: Annotated[str, Form()] = "",
        beside: Annotated[str, Form()] = "",
        reason: Annotated[str, Form()] = "",
        seen: Annotated[int, Form()] = 0,
        anyway: Annotated[bool, Form()] = False,
        then: Annotated[str, Form()] = "",
    ) -> Response:
        """Saves a rule about one product; a pin for several countries is one for each."""
        entered: dict[str, Any] = {
            "rule": rule,
            "stock_code": stock_code,
            "countries": countries or [],
            "list": list_name,
            "position": position,
            "from": begins,
            "until": until,
            "note": note,
            "beside": beside,
            "reason": reason,
        }

        def act(settings: Settings) -> int | str | None:
            change = Change(put=_parsed(settings, entered, anyway=anyway))
            return changed(request, who, settings, change, reason, seen, then)

        return answer(request, who, act, product=canonical(beside or stock_code), entered=entered)

    @changing.post("/rules-hide")
    def hide(
        request: Request,
        who: Sender,
        stock_code: Annotated[str, Form(max_length=200)],
        country: Annotated[str, Form(max_length=200)] = "",
        until: Annotated[str, Form(max_length=40)] = "",
        reason: Annotated[str, Form()] = "",
    ) -> Response:
        """Hides a product at once: readers take it out within seconds, without a refresh."""
        entered = {"rule": AT_ONCE, "countries": [country], "until": until, "reason": reason}

        def act(settings: Settings) -> str:
            end = hiding.instant(until, settings.shop_timezone) if until.strip() else None
            why, place = reason_of(reason), country or None
            when = now_or_later(
                lambda: hiding.hide(settings, [stock_code], actor=who, country=place, until=end, why=why)
            )
            return f"rules?{urlencode({'product': canonical(stock_code), 'hid': country or '*', 'when': when})}"

        return answer(request, who, act, product=canonical(stock_code), entered=entered)

    @changing.post("/rules-show")
    def unhide(
        request: Request,
        who: Sender,
        stock_code: Annotated[str, Form(max_length=200)],
        country: Annotated[str, Form(max_length=200)] = "",
    ) -> Response:
        """Shows a product again that was hidden at once."""

        def act(settings: Settings) -> str:
            when = now_or_later(lambda: hiding.unhide(settings, [stock_code], actor=who, country=country or None))
            return f"rules?{urlencode({'product': canonical(stock_code), 'showed': 'true', 'when': when})}"

        return answer(request, who, act, product=canonical(stock_code))

    @changing.post("/rules-remove")
    def remove(
        request: Request,
        who: Sender,
        rule: Annotated[str, Form()],
        product: Annotated[str, Form()] = "",
        reason: Annotated[str, Form()] = "",
        seen: Annotated[int, Form()] = 0,
        then: Annotated[str, Query()] = "",
    ) -> Response:
        """Removes a rule. `then` is in the address of the button, because its name and value say which rule."""

        def act(settings: Settings) -> int | str | None:
            if then == "preview" and all(each.key != rule for each in changes.rules(settings)):
                raise InputError(f"There is no rule '{rule[:200]}' any more: somebody removed it.")
            return changed(request, who, settings, Change(remove=(rule,)), reason, seen, then)

        return answer(request, who, act, product=product)

    @changing.post("/rules-limits")
    def limit(
        request: Request,
        who: Sender,
        max_per_family: Annotated[str, Form()] = "",
        min_price: Annotated[str, Form()] = "",
        reason: Annotated[str, Form()] = "",
        seen: Annotated[int, Form()] = 0,
        then: Annotated[str, Form()] = "",
    ) -> Response:
        """Sets the limits on all lists."""
        entered = {"max_per_family": max_per_family, "min_price": min_price, "reason": reason, "rule": "limits"}

        def act(settings: Settings) -> int | str | None:
            change = Change(limits=parsed_limits(entered))
            return changed(request, who, settings, change, reason, seen, then)

        return answer(request, who, act, entered=entered)

    @changing.post("/rules-undo")
    def undo(
        request: Request,
        who: Sender,
        change: Annotated[int, Form(ge=1, lt=2**62)],
        product: Annotated[str, Form()] = "",
        seen: Annotated[int, Form()] = 0,
        then: Annotated[str, Query()] = "",
    ) -> Response:
        """Undoes a change."""

        def act(settings: Settings) -> int | str | None:
            if then != "preview":
                return changes.undo(settings, change, actor=who)
            return changed(request, who, settings, changes.undoing(settings, change), "", seen, then)

        return answer(request, who, act, product=product)

    @changing.post("/rules-upload")
    def upload(
        request: Request,
        who: Sender,
        file: UploadFile,
        how: Annotated[str, Form()] = "add",
        reason: Annotated[str, Form()] = "",
        seen: Annotated[int, Form()] = 0,
        anyway: Annotated[bool, Form()] = False,
        then: Annotated[str, Form()] = "",
    ) -> Response:
        """Saves the rules of a file, all or none."""

        def act(settings: Settings) -> int | str | None:
            content = file.file.read(files.MOST_BYTES + 1)
            put = tuple(files.read(settings, content, today=_today(), anyway=anyway))
            change = Change(put=put, replaces_all=how == "replace")
            return changed(request, who, settings, change, reason, seen, then)

        return answer(request, who, act, entered={"rule": "file", "reason": reason, "how": how})

    def preview_page(
        request: Request, preview_id: int, may_change: bool, who: str, *, status: int = 200, **told: Any
    ) -> HTMLResponse:
        settings = settings_of()
        try:
            asked = previews.preview(settings, preview_id)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        shown = {"token": form_token(access.key, who), "may_change": may_change, "today": _today()}
        about = {"wrong": None, "paused": False, "published": None, **told}
        return show(request, "rule_preview", status=status, **shown, **about, **_of_preview(settings, asked))

    @router.get("/rules-preview-{preview_id}")
    def preview(
        request: Request,
        may_change: MayChange,
        who: Who,
        preview_id: Annotated[int, Path(ge=1, lt=2**62)],
        paused: bool = False,
        refresh: Annotated[str, Query(max_length=20)] = "",
    ) -> HTMLResponse:
        """What a change of rules would do, with the buttons to decide."""
        published = REFRESH.get(refresh)
        return preview_page(request, preview_id, may_change, who, paused=paused, published=published)

    @changing.post("/rules-publish")
    def publish(
        request: Request,
        who: Sender,
        preview: Annotated[int, Form(ge=1, lt=2**62)],
        then: Annotated[str, Form()] = "",
    ) -> Response:
        """Makes the change of a preview, and refreshes the lists if asked to."""
        try:
            previews.save(settings_of(), preview, actor=who)
        except (ChangedMeanwhileError, InputError) as error:
            status = 409 if isinstance(error, ChangedMeanwhileError) else 422
            return preview_page(request, preview, True, who, status=status, wrong=str(error))
        did = refresh(access, request, f"preview {preview}") if then == "refresh" else ""
        return RedirectResponse(f"rules-preview-{preview}{did and f'?refresh={did}'}", 303)

    @changing.post("/rules-drop")
    def drop(request: Request, who: Sender, preview: Annotated[int, Form(ge=1, lt=2**62)]) -> Response:
        """Throws a preview away."""
        try:
            previews.drop(settings_of(), preview)
        except InputError as error:
            return preview_page(request, preview, True, who, status=422, wrong=str(error))
        return RedirectResponse(f"rules-preview-{preview}", 303)

    router.include_router(changing)
    return router


def refresh(access: Access, request: Request, after: str) -> str:
    """Starts a refresh of the lists after something was saved.

    Args:
        access: of whoever saved it.
        request: that saved it.
        after: what was saved, for the log.

    Returns:
        A key of `REFRESH`; empty where there is no Airflow.
    """
    if access.start is None:
        return ""
    try:
        return "started" if access.start(request, "refresh_lists", {}) else "paused"
    except HTTPException as error:
        # It is saved. Whoever may not start a refresh has to be told that, and not that it failed.
        logger.warning("%s: saved, and no refresh was started: %s", after, error.detail)
        return "refused"


def _of_preview(settings: Settings, asked: Preview) -> dict[str, Any]:
    """What the page of a preview shows."""
    result = asked.result
    described = {rule.stock_code for rule in asked.change.put[:_NAMED]}
    codes = {code for each in result.examples for code in (*each.before, *each.after)} if result else set()
    codes |= {str(each.whose) for each in result.examples if each.audience == "product"} if result else set()
    stored = {rule.key: str(rule) for rule in changes.rules(settings)} if asked.change.remove else {}
    return {
        "preview": asked,
        "change": asked.change,
        "removed": [stored.get(key, key) for key in asked.change.remove],
        "result": result,
        "names": _items(settings, codes | described),
        "described": described,
        "currency": settings.currency,
        "count": count,
        "percent": percent,
    }


def _parsed(settings: Settings, entered: Mapping[str, Any], *, anyway: bool) -> tuple[Rule, ...]:
    """The rules that a form asks for."""
    today, countries = _today(), list(entered["countries"])
    if entered["rule"] == PINNED and len(countries) > 1:
        put = tuple(parsed({**entered, "countries": [each]}, today=today) for each in countries)
    else:
        put = (parsed(entered, today=today),)
    if not anyway:
        shop = known(settings, {code for rule in put for code in rule.products})
        doubts = dict.fromkeys(doubt for rule in put for doubt in shop.doubts(rule))
        if doubts:
            raise UnmatchedError("\n".join(doubts))
    return put


class UnmatchedError(InputError):
    """A rule would match nothing; whoever wants it all the same can say so."""


def _contents(
    settings: Settings,
    countries: Sequence[str],
    *,
    find: str = "",
    product: str = "",
    after: str = "",
    before: int | None = None,
    saved: int | None = None,
    hid: str = "",
    showed: bool = False,
    is_later: bool = False,
    wrong: Sequence[str] = (),
    unmatched: bool = False,
    entered: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that the page shows."""
    today, code = _today(), canonical(product)
    rules = changes.rules(settings)
    open_rules = [rule for rule in rules if not rule.is_over(today)]
    shop = known(
        settings, {each for rule in open_rules for each in rule.products} | ({code} if code else set()), countries
    )
    found = _search(settings, find) if find.strip() else []
    if len(found) == 1 and not code and found[0].stock_code == canonical(find):
        code = found[0].stock_code
    later = [rule for rule in rules if rule.stock_code > after]
    listed = _whole_products(later)
    about_product = [rule for rule in rules if code in rule.products]
    named = _items(settings, {each for rule in [*listed, *about_product] for each in rule.products} | {code})
    findings = findings_among(open_rules, shop)
    hidden = [each for each in hiding.hidden_products(settings) if each.stock_code == code] if code else []
    place = None if hid == "*" else hid
    hid_now = next((each for each in hidden if hid and each.country == place), None)
    return {
        "today": today,
        "find": find,
        "found": found,
        "code": code,
        "item": named.get(code),
        "is_known": code not in shop.unknown_products,
        "sold": sold(settings, code) if code else None,
        "of_product": [_shown(rule, named, today) for rule in about_product],
        "rules": [_shown(rule, named, today) for rule in listed],
        "count": len(rules),
        "after": after,
        "next_after": listed[-1].stock_code if len(later) > len(listed) else None,
        "findings": findings[:_TOLD],
        "more_findings": max(0, len(findings) - _TOLD),
        "countries": countries,
        "limits": changes.limits(settings),
        "currency": settings.currency,
        "history": changes.history(settings, before=before, stock_code=code or None, most=PAST),
        "past": PAST,
        "previews": [] if code else previews.open_previews(settings),
        "seen": changes.newest_change(settings),
        "saved": saved,
        "hidden_now": hidden,
        "hid": hid_now,
        "reached": _reached(settings, hid_now) if hid_now is not None else "",
        "showed": showed,
        "is_later": is_later,
        "at_once": AT_ONCE,
        "about_saved": _about(settings, saved),
        "wrong": wrong,
        "unmatched": unmatched,
        "entered": {**dict.fromkeys(_FIELDS, ""), "countries": [], **(entered or {})},
        "kinds": tuple(LEAVES_OUT),
        "lists": PINNED_LISTS,
        "only_in": ONLY_IN,
        "pinned": PINNED,
        "pinned_beside": PINNED_BESIDE,
        "names": named,
    }


def now_or_later(act: Callable[[], object]) -> str:
    """Hides or shows something; says whether readers know it: it is stored even if Redis does not answer."""
    try:
        act()
    except ListStoreError as error:
        logger.warning("%s", error)
        return LATER
    return "now"


def _reached(settings: Settings, hidden: HiddenProduct) -> str:
    """How many of those from whom a product is hidden were shown it, in a sentence; empty if it is not known."""
    try:
        shown = products.shown(settings, hidden.stock_code)
    except DatabaseError:
        raise
    except NcfError as error:
        logger.warning("%s", error)
        return ""
    if shown is None:
        return "No lists are live, so nobody was shown it."
    if hidden.country is None:
        there, number, among = "", shown.lists[FOR_YOU], shown.customers
    elif shown.of <= MOST_FOR_COUNTRIES:
        there = f" in {hidden.country}"
        number, among = next((each[1:] for each in shown.countries if each[0] == hidden.country), (0, 0))
    else:
        return ""
    if not number:
        return f"No customer{there} was shown it in for_you."
    return (
        f"{count(number)} of {count(among)} customers{there} were shown it in for_you: the next product of their list "
        "takes its place."
    )


def _about(settings: Settings, saved: int | None) -> changes.PastChange | None:
    """The change that was just made; None if there is none."""
    if not saved:
        return None
    newest = changes.history(settings, before=saved + 1, most=1)
    return newest[0] if newest and newest[0].change_id == saved else None


def _whole_products(rules: Sequence[Rule]) -> list[Rule]:
    """The first rules, without parting those of one product."""
    if len(rules) <= SHOWN:
        return list(rules)
    last = rules[SHOWN - 1].stock_code
    return [rule for rule in rules if rule.stock_code <= last]


def _shown(rule: Rule, named: Mapping[str, Item], today: date) -> Shown:
    state = "over" if rule.is_over(today) else "later" if rule.begins_later(today) else ""
    return Shown(rule, named.get(rule.stock_code) or _item(rule.stock_code, None), state)


def _items(settings: Settings, stock_codes: set[str]) -> dict[str, Item]:
    codes = sorted(stock_codes - {""})
    described = {row.stock_code: row.description for row in read_rows(settings, "descriptions", stock_codes=codes)}
    return {code: _item(code, described.get(code)) for code in codes}


def _item(stock_code: str, description: str | None) -> Item:
    return item(stock_code, {} if description is None else {stock_code: Product(stock_code, description, None)})


def _search(settings: Settings, text: str) -> list[Item]:
    """Products by code, or by words of their name."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("\x00", "")
    words = [f"%{word}%" for word in escaped.split()[:_MANY_WORDS]]
    code = canonical(text.replace("\x00", ""))
    rows = read_rows(settings, "find_products", code=code, words=words, most=FOUND)
    return [_item(row.stock_code, row.description) for row in rows]


def _today() -> date:
    return datetime.now(UTC).date()
