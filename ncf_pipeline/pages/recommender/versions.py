"""The page of model versions: two side by side, their lists, and who may make one of them serve."""

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ncf_pipeline.columns import LISTS_OF
from ncf_pipeline.errors import ArtifactError, ChangedMeanwhileError, DatabaseError, InputError, StoreUnavailableError
from ncf_pipeline.evaluation.scores import QUESTIONS, Scores
from ncf_pipeline.evaluation.summary import QUESTIONS_IN_WORDS, difference, label, number, percent, with_interval
from ncf_pipeline.ingest.customer_ids import is_possible, spelled
from ncf_pipeline.pages import purchases
from ncf_pipeline.pages.forms import Access, form_token, of_this_site, sender
from ncf_pipeline.pages.locales import count, day, short_day
from ncf_pipeline.pages.recommender.rules import Show
from ncf_pipeline.pages.shelves import Item, item
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import ModelVersion, Publication
from ncf_pipeline.serving.kept_lists import lists_of
from ncf_pipeline.serving.publication import name_of
from ncf_pipeline.serving.rollback import refuse_if_another_serves
from ncf_pipeline.serving.rules.values import canonical
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

if TYPE_CHECKING:
    from ncf_pipeline.training.report import RetrainSummary

logger = logging.getLogger(__name__)

VERSIONS = "Recommender versions"
"""What a user needs edit access to, to decide which version serves: a view of this name in Airflow's auth manager."""

SHOWN = 20
"""Most versions on a page."""

_MOST_LISTS = 300_000
"""A publication with more lists is not searched while somebody waits for the page."""

_LONGEST_REASON = 500
_NEWEST = 2**62
_CHOICES = 200
_DECIDED = {
    "started": "rollback_model is running: shoppers see the other lists when it ends.",
    "paused": "rollback_model is switched off in Airflow. Switch it on, so that its run can begin.",
    "approved": "Approved. The run of retrain_recommender goes on, and publishes its lists.",
    "rejected": "Rejected. The version is held, and what serves stays live.",
}


@dataclass(frozen=True)
class Deciding(Access):
    """Who may decide which version serves.

    Attributes:
        answer: answers the question of a run whether a version may serve, with the user's own rights: gets the request,
            the version, whether it may, and why; says whether a run asks. None where there is no Airflow.
    """

    answer: Callable[[Request, int, bool, str | None], bool] | None = None


@dataclass(frozen=True)
class Line:
    """A line of the comparison.

    Attributes:
        name: what is compared.
        cells: what the two versions have.
        note: about the two together.
    """

    name: str
    cells: tuple[str, str]
    note: str = ""

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.cells[0] != self.cells[1]


@dataclass(frozen=True)
class Lists:
    """Lists of a customer or a product by one version.

    Attributes:
        name: of the version.
        publication: whose lists they are, such as `p000007`; None if the version never published.
        lists: name to its products, best first.
        why_none: why there are no lists, in a sentence; None if there are some.
    """

    name: str
    publication: str | None
    lists: Mapping[str, tuple[Item, ...]]
    why_none: str | None = None


def routes(
    settings_of: Callable[[], Settings],
    seen_by: Sequence[Any],
    sees_customers: Callable[..., bool],
    access: Deciding,
    show: Show,
    customers: str,
) -> APIRouter:
    """Makes the routes of the page.

    Args:
        settings_of: returns the settings of the installation.
        seen_by: dependencies that refuse users who may not see the page.
        sees_customers: dependency that says whether the user may see a customer's lists.
        access: who may decide which version serves.
        show: renders a template.
        customers: name of the permission to see customers.
    """
    MaySeeCustomers = Annotated[bool, Depends(sees_customers)]  # noqa: N806 - a type
    MayDecide = Annotated[bool, Depends(access.may_change)]  # noqa: N806
    Who = Annotated[str, Depends(access.who)]  # noqa: N806
    Version = Annotated[int, Form(ge=0, lt=2**31)]  # noqa: N806

    Sender = Annotated[str, Depends(sender(access, "decide which version serves", VERSIONS))]  # noqa: N806
    router = APIRouter(dependencies=list(seen_by))
    changing = APIRouter(dependencies=[*seen_by, Depends(of_this_site)])

    def page(
        request: Request,
        who: str,
        may_decide: bool,
        may_see: bool,
        *,
        status: int = 200,
        wrong: str = "",
        reason: str = "",
        did: str = "",
        **asked: Any,
    ) -> HTMLResponse:
        settings = settings_of()
        may = {"may_decide": may_decide, "may_see": may_see, "permission": VERSIONS, "customers": customers}
        shown: dict[str, Any] = {**may, "token": form_token(access.key, who), "database_error": None}
        try:
            shown |= _contents(settings, **asked)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        except DatabaseError as error:
            logger.warning("%s", error)
            return show(
                request, "versions", status=503, **{**shown, "database_error": settings.without_secrets(str(error))}
            )
        return show(request, "versions", status=status, wrong=wrong, reason=reason, did=_DECIDED.get(did, ""), **shown)

    def began(request: Request, settings: Settings, version: int, instead_of: int, why: str) -> bool:
        """Starts a roll-back; says whether its run can begin at once."""
        _refuse_unless_servable(settings, version)
        refuse_if_another_serves(settings, instead_of)
        if access.start is None:
            raise InputError(f"There is no Airflow here to start a run. Run `ncf-pipeline rollback v{version}`.")
        return access.start(request, "rollback_model", {"version": version, "reason": why, "instead_of": instead_of})

    def answered(request: Request, settings: Settings, version: int, may_serve: bool, why: str) -> None:
        """Answers the run that asks about a version."""
        model = registry.model_version(settings, version)
        if model.state != "candidate":
            raise ChangedMeanwhileError(
                f"v{version} does not wait for approval any more. It {_state(model)}. Nothing was changed."
            )
        if access.answer is None or not access.answer(request, version, may_serve, why):
            raise InputError(
                f"No run waits for an answer about v{version}. If its command was ended, "
                f"`ncf-pipeline retrain --resume v{version}` asks again, without training."
            )

    @router.get("/versions")
    def versions_page(
        request: Request,
        who: Who,
        may_decide: MayDecide,
        may_see: MaySeeCustomers,
        a: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
        b: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
        product: Annotated[str, Query(max_length=200)] = "",
        before: Annotated[int, Query(ge=1, le=_NEWEST)] = _NEWEST,
        did: Annotated[str, Query(max_length=20)] = "",
    ) -> HTMLResponse:
        """The versions, two of them side by side, and the forms to decide."""
        return page(request, who, may_decide, may_see, a=a, b=b, product=product, before=before, did=did)

    @changing.post("/versions-customer")
    def of_customer(
        request: Request,
        who: Who,
        may_decide: MayDecide,
        may_see: MaySeeCustomers,
        a: Version,
        b: Version,
        customer: Annotated[str, Form(alias="number")] = "",
    ) -> HTMLResponse:
        """One customer's lists by two versions. The id is in the request's body, so that no log contains it."""
        if not may_see:
            raise HTTPException(403, f"You may not look customers up. It needs the permission to read {customers}.")
        customer_id = spelled(customer)
        if not is_possible(customer_id):
            wrong = "This is not a customer's id."
            return page(request, who, may_decide, may_see, status=422, wrong=wrong, a=a, b=b)
        return page(request, who, may_decide, may_see, a=a, b=b, customer_id=customer_id)

    @changing.post("/versions-serve")
    def serve(
        request: Request,
        who: Sender,
        may_see: MaySeeCustomers,
        version: Version,
        instead_of: Version,
        reason: Annotated[str, Form(max_length=_LONGEST_REASON)] = "",
    ) -> Response:
        """Starts a run that makes a version that has served before serve again."""
        try:
            begins = began(request, settings_of(), version, instead_of, _given(reason))
        except (ChangedMeanwhileError, InputError) as error:
            told: dict[str, Any] = {"status": _status(error), "wrong": str(error), "reason": reason}
            return page(request, who, True, may_see, a=version, b=instead_of, **told)
        return RedirectResponse(f"versions?a={version}&b={instead_of}&did={'started' if begins else 'paused'}", 303)

    @changing.post("/versions-answer")
    def answer(
        request: Request,
        who: Sender,
        may_see: MaySeeCustomers,
        version: Version,
        may_serve: Annotated[str, Form(pattern="^(yes|no)$")],
        reason: Annotated[str, Form(max_length=_LONGEST_REASON)] = "",
    ) -> Response:
        """Answers the question of a run whether a version that the gate let through may serve."""
        try:
            answered(request, settings_of(), version, may_serve == "yes", _given(reason))
        except (ChangedMeanwhileError, InputError) as error:
            told: dict[str, Any] = {"status": _status(error), "wrong": str(error), "reason": reason}
            return page(request, who, True, may_see, a=version, **told)
        return RedirectResponse(f"versions?a={version}&did={'approved' if may_serve == 'yes' else 'rejected'}", 303)

    router.include_router(changing)
    return router


def _contents(
    settings: Settings,
    *,
    a: int | None = None,
    b: int | None = None,
    product: str = "",
    customer_id: str | None = None,
    before: int = _NEWEST,
) -> dict[str, Any]:
    """What the page shows. Without two versions to compare, it takes the newest, and what serves or the one before."""
    serving = registry.champion(settings)
    older = registry.model_versions(settings, before=before, most=SHOWN + 1)
    newest = older[0].version if older else 0
    precision = {(row.version, row.question): row for row in registry.recent_retrains(settings, newest, count=SHOWN)}
    choices = registry.version_numbers(settings, _CHOICES)
    shown: dict[str, Any] = {
        "versions": older[:SHOWN],
        "next_before": older[SHOWN - 1].version if len(older) > SHOWN else None,
        "is_older": before < _NEWEST,
        "precision": {version: row for (version, question), row in precision.items() if question == QUESTIONS[0]},
        "serving": serving,
        "choices": choices,
        "a": None,
        "b": None,
    }
    if not choices:
        return shown
    from ncf_pipeline.training.report import retrain_summary  # draws figures too, which only this page and cards need

    a = choices[0] if a is None else a
    others = [number for number in choices if number != a]
    if b is None:
        b = serving.version if serving is not None and serving.version != a else next(iter(others), a)
    sides = (retrain_summary(settings, a, periods=False), retrain_summary(settings, b, periods=False))
    published = {
        number: entry for number in (a, b) for entry in registry.publications(settings, version=number, most=1)
    }
    shown |= {
        "a": sides[0].model,
        "b": sides[1].model,
        "decisions": [side.decision for side in sides],
        "events": [(side.model, side.events[::-1][:6]) for side in sides],
        "may_go_back": [_servable(side.model, published) for side in sides],
        "waits": [_waits(side) for side in sides],
        "facts": _facts(settings, sides),
        "metrics": _metrics(sides),
        "paired": _paired(sides),
        "cohorts": _cohorts(sides),
        "thresholds": _two_of([_thresholds(side) for side in sides]),
        "recipe": _two_of([_flat(side.model.config) for side in sides]),
        "live": _live(sides),
        "drift": _drift(settings, sides),
        "product": product,
        "customer_id": customer_id,
        "lists": None,
    }
    key = ("customer", customer_id) if customer_id else ("product", canonical(product)) if product.strip() else None
    if key is not None:
        shown["lists"] = _lists(settings, [side.model for side in sides], published, *key)
        shown["list_names"] = LISTS_OF["customer" if customer_id else "product"]
    return shown


def _facts(settings: Settings, sides: Sequence["RetrainSummary"]) -> list[Line]:
    models = [side.model for side in sides]
    batches = [side.batches for side in sides]
    lines = {row.version: row for row in read_rows(settings, "lines_of_versions", versions=[m.version for m in models])}
    new = "" if None in batches else _only(batches[0], batches[1], models[1])

    def two(name: str, of: Callable[[ModelVersion], Any], note: str = "") -> Line:
        cells = tuple("" if (value := of(model)) is None else str(value) for model in models)
        return Line(name, (cells[0], cells[1]), note)

    def code(model: ModelVersion, name: str) -> str | None:
        value = (model.code or {}).get(name)
        return value[:12] if value and name != "package_version" else value

    return [
        two("State", _state),
        two("Lists", lambda model: registry.recommenders_in_words(model.recommender)),
        two("Requested by", lambda model: model.requested_by),
        two("Trained", lambda model: f"{model.created_at:%Y-%m-%d %H:%M} UTC"),
        two("Knows purchases before", lambda model: f"{model.cutoff:%Y-%m-%d %H:%M}"),
        two("Evaluated on purchases from", lambda model: f"{model.holdout_start:%Y-%m-%d %H:%M}"),
        two("Snapshot", lambda model: model.snapshot_id),
        two("Batches in it", lambda model: _count(batches[models.index(model)]), new),
        two(
            "Lines that they brought",
            lambda model: count(lines[model.version].lines) if model.version in lines else None,
        ),
        two("Version of the package", lambda model: code(model, "package_version")),
        two("Commit", lambda model: code(model, "commit")),
        two("Hash of the code", lambda model: code(model, "sha256")),
        two("Model's files", _files),
    ]


def _state(model: ModelVersion) -> str:
    words = {"champion": "serves", "retired": "has served", "held": "is held", "candidate": "is a candidate"}[
        model.state
    ]
    return f"{words}, rolled back on {model.withdrawn_at:%Y-%m-%d}" if model.withdrawn_at else words


def _files(model: ModelVersion) -> str:
    if model.recommender == registry.BASELINES:
        return "needs none"
    if model.pruned_at is not None:
        return f"removed on {model.pruned_at:%Y-%m-%d}: it cannot serve again"
    return "kept" if model.url is not None else "not made: it was not trained again after the gate"


def _count(batches: list[int] | None) -> str | None:
    return None if batches is None else count(len(batches))


def _only(mine: list[int] | None, theirs: list[int] | None, other: ModelVersion) -> str:
    more, fewer = len(set(mine or ()) - set(theirs or ())), len(set(theirs or ()) - set(mine or ()))
    return f"{count(more)} that {other.name} lacks; it has {count(fewer)} others" if more or fewer else ""


def _of_candidate(side: "RetrainSummary") -> dict[tuple[str, str], Scores]:
    return {(row.question, row.cohort): row for row in side.evaluation if row.recommender == "candidate"}


_METRICS: Sequence[tuple[str, Callable[[Scores], str]]] = (
    ("Precision@{k}", lambda s: with_interval(s.precision_at_k, s.precision_low, s.precision_high)),
    ("Recall@{k}", lambda s: number(s.recall_at_k)),
    ("NDCG@10", lambda s: number(s.ndcg_at_10)),
    ("MAP@10", lambda s: number(s.map_at_10)),
    ("Revenue@{k}", lambda s: percent(s.revenue_at_k)),
    ("Coverage of the catalogue", lambda s: percent(s.catalog_coverage)),
    ("Full lists", lambda s: percent(s.full_lists)),
    ("Customers", lambda s: count(s.customers)),
)


def _metrics(sides: Sequence["RetrainSummary"]) -> list[tuple[str, list[Line]]]:
    """For each question its lines, over everyone; the lead over the baselines of the same holdout comes last."""
    told = []
    for question in QUESTIONS:
        both = [_of_candidate(side).get((question, "everyone")) for side in sides]
        if not any(both):
            continue
        k = next(score.k for score in both if score is not None)
        lines = [
            Line(name.format(k=k), _pair("" if score is None else cell(score) for score in both))
            for name, cell in _METRICS
        ]
        baselines = dict.fromkeys(
            row.recommender
            for side in sides
            for row in side.evaluation
            if row.question == question and row.cohort == "everyone" and row.ahead is not None
        )
        for name in baselines:
            leads = (_lead(side, question, name) for side in sides)
            lines.append(Line(f"Ahead of {label(name)}", _pair(leads)))
        told.append((QUESTIONS_IN_WORDS[question], lines))
    return told


def _lead(side: "RetrainSummary", question: str, recommender: str) -> str:
    for row in side.evaluation:
        if (row.recommender, row.question, row.cohort) == (recommender, question, "everyone"):
            return difference(row.ahead, row.ahead_low, row.ahead_high)
    return ""


def _pair(cells: Any) -> tuple[str, str]:
    first, second = cells
    return first, second


def _paired(sides: Sequence["RetrainSummary"]) -> list[str]:
    """The paired difference of the two, where the gate compared one with the other; else why there is none."""
    if sides[0].model.version == sides[1].model.version:
        return [f"This is {sides[0].model.name} beside itself: choose another version, if there is one."]
    for mine, theirs in (sides, sides[::-1]):
        details = mine.decision.details if mine.decision else {}
        best = (details.get("best_recent") or {}).get("best", {})
        told = []
        for question in QUESTIONS:
            as_what = (
                "incumbent"
                if details.get("incumbent") == theirs.model.version
                else "best_recent"
                if best.get(question) == theirs.model.version
                else None
            )
            lead = _lead(mine, question, as_what) if as_what else ""
            if lead:
                told.append(
                    f"{mine.model.name} is ahead of {theirs.model.name} by {lead} in {question}, customer by customer "
                    f"on the holdout of {mine.model.name}."
                )
        if told:
            return told
    return [
        "These two were never scored on the same customers, and scores of single customers are not kept, because they "
        "would name them. So there is no paired interval: each interval below is of one version on its own holdout, "
        "and the leads over the same baseline say most."
    ]


def _cohorts(sides: Sequence["RetrainSummary"]) -> list[Line]:
    both = [_of_candidate(side) for side in sides]
    keys = dict.fromkeys(key for scores in both for key in scores if key[1] != "everyone")

    def cell(scores: Scores | None) -> str:
        if scores is None:
            return ""
        mean = with_interval(scores.precision_at_k, scores.precision_low, scores.precision_high)
        return f"{mean}, {count(scores.customers)} customers"

    return [
        Line(f"{question}: {cohort}", _pair(cell(scores.get((question, cohort))) for scores in both))
        for question, cohort in keys
    ]


def _thresholds(side: "RetrainSummary") -> dict[str, str]:
    return _flat(side.decision.details.get("thresholds", {})) if side.decision else {}


def _flat(config: Any, prefix: str = "") -> dict[str, str]:
    """A nested configuration as names and values.

    >>> _flat({"network": {"hidden": [16, 8]}, "seed": 1})
    {'network.hidden': '16, 8', 'seed': '1'}
    """
    if not isinstance(config, Mapping):
        values = config if isinstance(config, list) else [config]
        return {prefix: ", ".join(str(value) for value in values)}
    told: dict[str, str] = {}
    for name, value in config.items():
        told |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return told


def _two_of(both: Sequence[Mapping[str, str]]) -> list[Line]:
    """What differs comes first."""
    names = dict.fromkeys(name for side in both for name in side)
    lines = [Line(name, _pair(side.get(name, "") for side in both)) for name in names]
    return sorted(lines, key=lambda line: not line.differs)


def _live(sides: Sequence["RetrainSummary"]) -> list[Line]:
    """The newest measured window of each version while its lists were live."""

    def cell(side: "RetrainSummary", question: str) -> str:
        rows = [row for row in side.live if row.recommender == "live" and row.question == question]
        rows = [row for row in rows if row.precision_at_k is not None]
        if not rows:
            return ""
        newest = max(rows, key=lambda row: row.bought_until)
        mean = with_interval(float(newest.precision_at_k or 0), newest.precision_low, newest.precision_high)
        return f"{mean}, {short_day(newest.bought_from)} to {day(newest.bought_until)}"

    lines = [Line(question, _pair(cell(side, question) for side in sides)) for question in QUESTIONS]
    return [line for line in lines if any(line.cells)]


def _drift(settings: Settings, sides: Sequence["RetrainSummary"]) -> list[tuple[str, tuple[str, ...]]]:
    """The newest finding of drift while each version was live."""
    newest = live_periods.newest_drift(settings, [side.model.version for side in sides])
    return [(side.model.name, newest[side.model.version]) for side in sides if newest.get(side.model.version)]


def _servable(model: ModelVersion, published: Container[int]) -> bool:
    """Whether a rollback can make it serve; `published` are versions that ever published lists."""
    return model.version in published and model.pruned_at is None and model.state not in ("champion", "candidate")


def _waits(side: "RetrainSummary") -> bool:
    """Whether the gate let it through, and a person has to approve it."""
    return side.model.state == "candidate" and side.decision is not None and side.decision.promote


def _refuse_unless_servable(settings: Settings, version: int) -> None:
    model = registry.model_version(settings, version)
    if model.state == "champion":
        raise ChangedMeanwhileError(f"{model.name} serves already. Nothing was changed.")
    if model.pruned_at is not None:
        raise InputError(
            f"The files of {model.name} were removed on {model.pruned_at:%Y-%m-%d}, so it cannot serve again. Choose a "
            "newer version."
        )
    if not _servable(model, {entry.version for entry in registry.publications(settings, version=version, most=1)}):
        raise InputError(f"{model.name} never served, so there are no lists to go back to.")


def _lists(
    settings: Settings, models: Sequence[ModelVersion], published: Mapping[int, Publication], audience: str, key: str
) -> list[Lists]:
    """The lists of a customer or a product as each version last published them."""
    found = [_lists_of(model, published.get(model.version), audience, key) for model in models]
    codes = {code for each in found if not isinstance(each, str) for names in each[1].values() for code in names}
    names = purchases.products(settings, sorted(codes))
    told = []
    for model, each in zip(models, found, strict=True):
        if isinstance(each, str):
            told.append(Lists(model.name, None, {}, each))
            continue
        publication, lists = each
        items = {name: tuple(item(code, names) for code in chosen[:20]) for name, chosen in lists.items()}
        why = None if items else f"{publication} has no list of this {audience}: the shop shows what everybody sees."
        told.append(Lists(model.name, publication, items, why))
    return told


def _lists_of(
    model: ModelVersion, newest: Publication | None, audience: str, key: str
) -> tuple[str, dict[str, tuple[str, ...]]] | str:
    if newest is None:
        return f"{model.name} never published lists."
    name = name_of(newest.number)
    if newest.customers + newest.products > _MOST_LISTS:
        return f"{name} has more than {count(_MOST_LISTS)} lists, too many to search while you wait."
    try:
        kept = lists_of(newest, key, audience=audience, with_reasons=False)
    except StoreUnavailableError as error:
        logger.warning("%s", error)
        return f"The artifact store does not answer, so the lists of {name} cannot be read now."
    except ArtifactError as error:
        logger.warning("%s", error)
        return f"The lists of {name} are no longer kept."
    return name, {list_name: each.stock_codes for list_name, each in kept.items()}


def _status(error: Exception) -> int:
    return 409 if isinstance(error, ChangedMeanwhileError) else 422


def _given(reason: str) -> str:
    why = " ".join(reason.replace("\x00", "").split())
    if not why:
        raise InputError("Say why, for later readers. Nothing was changed.")
    return why
