"""The pages of experiments: plan one with the power in view, start it, watch it week by week, and stop it.

While an experiment runs, its page shows no more than its design can bear: with one look at the end, no effect before
the end; with weekly looks, the always-valid interval alone. No page of these says which group a customer is in.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ncf_pipeline.errors import (
    ArtifactError,
    ChangedMeanwhileError,
    DatabaseError,
    InputError,
    StoreUnavailableError,
)
from ncf_pipeline.experiments import records, stages
from ncf_pipeline.experiments import report as experiment_report
from ncf_pipeline.experiments.design import ONCE_NEEDS_WEEKS, Design, Kind, checked_name, checked_text
from ncf_pipeline.experiments.figures import EFFECT
from ncf_pipeline.experiments.measures import MEASURES
from ncf_pipeline.experiments.plan import Needed, Plan
from ncf_pipeline.experiments.power import FEWEST_BUYERS, FEWEST_WEEKS
from ncf_pipeline.experiments.records import Experiment, Report
from ncf_pipeline.experiments.results import Interval, MeasureResult, WeeklyEffect
from ncf_pipeline.experiments.sentences import percent, plan_in_words
from ncf_pipeline.experiments.stages import Past
from ncf_pipeline.pages.forms import Access, form_token, of_this_site, sender
from ncf_pipeline.pages.headers import headers, policy
from ncf_pipeline.pages.locales import count
from ncf_pipeline.pages.recommender.charts import Chart, signed_chart, thinned
from ncf_pipeline.pages.recommender.rules import REFRESH, Show, refresh
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import newest_cutoff
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

logger = logging.getLogger(__name__)

EXPERIMENTS = "Recommender experiments"
"""What a user needs edit access to, to start and stop experiments: a view of this name in Airflow's auth manager."""

SHOWN = 20
"""Most ended experiments on a page."""

MOST_LINES = 3_000_000
"""A shop with more invoice lines is not planned while somebody waits: reading them takes minutes and gigabytes."""

MOST_TEXT, MOST_CHALLENGERS, MOST_LOOKED_AT = 500, 50, 200

_PLANS, _PATIENCE = 200, 60
_CHOSEN = ("endless", "also")
_NOTHING: dict[str, Any] = {
    "name": "",
    "hypothesis": "",
    "kind": "holdout",
    "challenger": "",
    "harm_bound": 10,
    "ends_on_harm": True,
}
"""What the form to start an experiment has before somebody writes."""

# Our own figure: it has its own style, and nothing in it may run, even if somebody opens it alone.
_FIGURE_POLICY = policy(style_src="'unsafe-inline'", framed_by="'self'")

Name = Annotated[str, Path(pattern="^[a-z][a-z0-9-]*$")]


@dataclass(frozen=True)
class Asked:
    """What the sliders and fields of the plan say.

    Attributes:
        share: of the customers, in percent.
        weeks: of the experiment.
        effect: least increase worth finding, in percent.
        power: chance of finding it, in percent.
        metric: the deciding measure.
        decides: `weekly` or `once`.
        endless: whether it has no planned end.
        also: other measures that are asked.
    """

    share: int
    weeks: int
    effect: int
    power: int
    metric: str
    decides: Literal["weekly", "once"]
    endless: bool
    also: tuple[str, ...]

    @property
    def command(self) -> str:
        """The same plan as a command."""
        measures = " ".join(f"--metric {name}" for name in (self.metric, *self.also))
        return (
            f"ncf-pipeline experiment plan --effect {self.effect / 100:g} --share {self.share / 100:g} "
            f"--weeks {self.weeks} --power {self.power / 100:g} {measures}"
        )


class UnreadError(InputError):
    """There are too many lines to read while somebody waits, or others wait already."""


class Plans:
    """Plans from the shop's past, which is read again when there are newer purchases. One is computed at a time."""

    def __init__(self) -> None:
        """Reads nothing yet."""
        self._lock = threading.Lock()
        self._past: Past | None = None
        self._made: dict[Asked, Plan] = {}

    def of(self, settings: Settings, asked: Asked) -> Plan:
        """The plan of what somebody asks.

        Raises:
            InputError: there are no invoices, the past is too short, there is too much of it, or others wait already.
            DatabaseError: Postgres cannot be reached or refuses.
        """
        if not self._lock.acquire(timeout=_PATIENCE):
            raise UnreadError("Others are planning at this moment. Try again in a minute.")
        try:
            return self._of(settings, asked)
        finally:
            self._lock.release()

    def _of(self, settings: Settings, asked: Asked) -> Plan:
        until = newest_cutoff(settings)
        if self._past is None or self._past.until != until:
            about = int(read_rows(settings, "invoice_lines_about")[0].lines)
            if about > MOST_LINES:
                raise UnreadError(
                    f"The shop has about {count(about)} invoice lines, too many to read while you wait. The command "
                    "says it."
                )
            self._made.clear()
            self._past = Past.of(settings)
        if asked not in self._made:
            if len(self._made) >= _PLANS:
                self._made.clear()
            self._made[asked] = self._past.plan(
                effect=asked.effect / 100,
                power=asked.power / 100,
                metric=asked.metric,
                share=asked.share / 100,
                also=asked.also,
                weeks=asked.weeks,
            )
        return self._made[asked]


def asked_of(
    share: Annotated[int, Query(ge=1, le=50)] = 5,
    weeks: Annotated[int, Query(ge=2, le=104)] = 12,
    effect: Annotated[int, Query(ge=1, le=100)] = 5,
    power: Annotated[int, Query(ge=50, le=99)] = 80,
    metric: Annotated[str, Query(max_length=40)] = "average_order_value",
    decides: Annotated[Literal["weekly", "once"], Query()] = "weekly",
    endless: Annotated[bool, Query()] = False,
    also: Annotated[list[str] | None, Query(max_length=10)] = None,
) -> Asked:
    """Reads the sliders from an address."""
    return _asked(share, weeks, effect, power, metric, decides, endless, also or ())


def entered_of(
    name: Annotated[str, Query(max_length=100)] = "",
    hypothesis: Annotated[str, Query(max_length=MOST_TEXT)] = "",
    kind: Annotated[Kind, Query()] = "holdout",
    challenger: Annotated[str, Query(max_length=10)] = "",
    harm_bound: Annotated[int, Query(ge=0, le=100)] = 10,
    ends_on_harm: Annotated[bool, Query()] = True,
) -> dict[str, Any]:
    """Reads from an address what the form to start an experiment has."""
    return {
        "name": name,
        "hypothesis": hypothesis,
        "kind": kind,
        "challenger": challenger,
        "harm_bound": harm_bound,
        "ends_on_harm": ends_on_harm,
    }


def address_of(asked: Asked, entered: Mapping[str, Any]) -> str:
    """The address of a plan: with all that the sliders and the form say, because nothing else keeps it."""
    fields: list[tuple[str, Any]] = [(name, value) for name, value in vars(asked).items() if name not in _CHOSEN]
    fields += [("endless", "true")] if asked.endless else []
    fields += [("also", name) for name in asked.also]
    fields += [(name, str(value).lower()) if isinstance(value, bool) else (name, value)
               for name, value in entered.items() if value != _NOTHING[name]]  # fmt: skip
    return f"experiments?{urlencode(fields)}"


def sent(
    share: Annotated[int, Form(ge=1, le=50)],
    weeks: Annotated[int, Form(ge=2, le=104)],
    effect: Annotated[int, Form(ge=1, le=100)],
    power: Annotated[int, Form(ge=50, le=99)] = 80,
    metric: Annotated[str, Form(max_length=40)] = "average_order_value",
    decides: Annotated[Literal["weekly", "once"], Form()] = "weekly",
    endless: Annotated[bool, Form()] = False,
    also: Annotated[list[str] | None, Form(max_length=10)] = None,
) -> Asked:
    """Reads the plan that is started from a form."""
    return _asked(share, weeks, effect, power, metric, decides, endless, also or ())


def _asked(
    share: int,
    weeks: int,
    effect: int,
    power: int,
    metric: str,
    decides: Literal["weekly", "once"],
    endless: bool,
    also: Sequence[str],
) -> Asked:
    unknown = [name for name in (metric, *also) if name not in MEASURES]
    if unknown:
        raise HTTPException(422, f"There is no measure {unknown[0]!r}. There are {', '.join(MEASURES)}.")
    others = tuple(name for name in dict.fromkeys(also) if name != metric)
    return Asked(share, weeks, effect, power, metric, decides, endless, others)


def routes(settings_of: Callable[[], Settings], seen_by: Sequence[Any], access: Access, show: Show) -> APIRouter:
    """Makes the routes of the pages.

    Args:
        settings_of: returns the settings of the installation.
        seen_by: dependencies that refuse users who may not see the pages.
        access: who may start and stop experiments.
        show: renders a template.
    """
    MayRun = Annotated[bool, Depends(access.may_change)]  # noqa: N806 - a type
    Who = Annotated[str, Depends(access.who)]  # noqa: N806

    Sender = Annotated[str, Depends(sender(access, "start and stop experiments", EXPERIMENTS))]  # noqa: N806
    router = APIRouter(dependencies=list(seen_by))
    changing = APIRouter(dependencies=[*seen_by, Depends(of_this_site)])
    plans = Plans()

    def page(
        request: Request,
        who: str,
        may_run: bool,
        asked: Asked,
        *,
        status: int = 200,
        plans_it: bool = True,
        before: int | None = None,
        **told: Any,
    ) -> HTMLResponse:
        settings = settings_of()
        shown: dict[str, Any] = {"may_run": may_run, "permission": EXPERIMENTS, "asked": asked, "database_error": None}
        try:
            shown |= _overview(settings, before)
            shown |= _planned(plans, settings, asked) if plans_it else {"planned": None, "unplanned": None}
        except DatabaseError as error:
            logger.warning("%s", error)
            return show(
                request, "experiments", status=503, **shown | {"database_error": settings.without_secrets(str(error))}
            )
        about: dict[str, Any] = {"wrong": "", "entered": _NOTHING, **told}
        about["link"] = address_of(asked, about["entered"])
        return show(request, "experiments", status=status, token=form_token(access.key, who), **shown, **about)

    def watch(request: Request, who: str, may_run: bool, name: str, *, status: int = 200, **told: Any) -> HTMLResponse:
        settings = settings_of()
        try:
            entry = records.experiment(settings, name)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        looks = records.reports(settings, entry.number)
        shown = _watched(entry, looks[-1]) if looks else None
        about: dict[str, Any] = {"wrong": "", "did": "", "reason": "", **told}
        return show(
            request,
            "experiment",
            status=status,
            entry=entry,
            looks=looks,
            shown=shown,
            ends=ends_early(entry.design),
            may_run=may_run,
            permission=EXPERIMENTS,
            token=form_token(access.key, who),
            **about,
        )

    @router.get("/experiments")
    def experiments_page(
        request: Request,
        who: Who,
        may_run: MayRun,
        asked: Annotated[Asked, Depends(asked_of)],
        entered: Annotated[dict[str, Any], Depends(entered_of)],
        before: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    ) -> HTMLResponse:
        """The running experiment, the form to plan and start one, and those that ended."""
        plans_it = "share" in request.query_params
        return page(request, who, may_run, asked, before=before, plans_it=plans_it, entered=entered)

    @router.get("/experiments-plan")
    def plan(request: Request, asked: Annotated[Asked, Depends(asked_of)]) -> HTMLResponse:
        """What the sliders mean: the part of the page that changes as they move."""
        try:
            planned = _planned(plans, settings_of(), asked)
        except DatabaseError as error:
            logger.warning("%s", error)
            raise HTTPException(503, "Postgres does not answer, so nothing can be planned.") from error
        return show(request, "experiment_plan", asked=asked, **planned)

    @changing.post("/experiments-start")
    def start(
        request: Request,
        who: Sender,
        asked: Annotated[Asked, Depends(sent)],
        name: Annotated[str, Form(max_length=100)] = "",
        hypothesis: Annotated[str, Form(max_length=MOST_TEXT)] = "",
        kind: Annotated[Literal["holdout", "challenger", "order"], Form()] = "holdout",
        challenger: Annotated[str, Form(max_length=10)] = "",
        harm_bound: Annotated[int, Form(ge=0, le=100)] = 10,
        ends_on_harm: Annotated[bool, Form()] = False,
        seen: Annotated[str, Form(max_length=40)] = "",
    ) -> Response:
        """Starts the experiment that the page planned, and refreshes the lists, which makes its groups' lists."""
        settings = settings_of()
        entered = {
            "name": name,
            "hypothesis": hypothesis,
            "kind": kind,
            "challenger": challenger,
            "harm_bound": harm_bound,
            "ends_on_harm": ends_on_harm,
        }
        try:
            design = _design(settings, asked, name, hypothesis, kind, challenger, harm_bound / 100, ends_on_harm)
            _refuse_if_stale(settings, seen)
            entry = stages.start(settings, design, by=who)
        except (ChangedMeanwhileError, InputError) as error:
            status = 409 if isinstance(error, ChangedMeanwhileError) else 422
            return page(request, who, True, asked, status=status, wrong=str(error), entered=entered)
        did = refresh(access, request, f"experiment {entry.design.name}")
        return RedirectResponse(f"experiment-{entry.design.name}?did=started{did and f'&refresh={did}'}", 303)

    @changing.post("/experiments-stop")
    def stop(
        request: Request,
        who: Sender,
        name: Annotated[str, Form(pattern="^[a-z][a-z0-9-]*$", max_length=60)],
        reason: Annotated[str, Form(max_length=MOST_TEXT)] = "",
    ) -> Response:
        """Stops an experiment, and refreshes the lists, which gives everybody the champion's."""
        settings = settings_of()
        try:
            entry = records.experiment(settings, name)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        try:
            stages.stop(settings, name, by=who, why=checked_text("The reason", reason))
        except InputError as error:
            status = 409 if records.experiment(settings, entry.design.name).state == "ended" else 422
            return watch(request, who, True, name, status=status, wrong=str(error), reason=reason)
        did = refresh(access, request, f"the end of experiment {name}")
        return RedirectResponse(f"experiment-{name}?did=stopped{did and f'&refresh={did}'}", 303)

    @router.get("/experiment-{name}")
    def experiment(
        request: Request,
        who: Who,
        may_run: MayRun,
        name: Name,
        did: Annotated[str, Query(max_length=20)] = "",
        refresh: Annotated[str, Query(max_length=20)] = "",
    ) -> HTMLResponse:
        """The newest report of an experiment, its effect by week, what ends it, and the form to stop it."""
        return watch(request, who, may_run, name, did=did, refreshed=REFRESH.get(refresh, ""))

    @router.get("/experiment-{name}/{figure}.svg")
    def experiment_figure(name: Name, figure: Literal["effect", "baskets"]) -> Response:
        """A figure of the newest report of an experiment."""
        settings = settings_of()
        try:
            is_shown = shows_figure(records.experiment(settings, name), f"{figure}.svg")
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        if not is_shown:
            raise HTTPException(404, f"This figure of {name} is shown when the experiment has ended.")
        try:
            content = experiment_report.read_figure(settings, name, f"{figure}.svg")
        except StoreUnavailableError:
            raise
        except ArtifactError as error:
            logger.warning("%s", error)
            raise HTTPException(404, f"The experiment {name} has no such figure.") from error
        return Response(content, media_type="image/svg+xml", headers=headers(_FIGURE_POLICY))

    router.include_router(changing)
    return router


def _overview(settings: Settings, before: int | None) -> dict[str, Any]:
    """What is running, what ended, and what a start may choose from."""
    every = records.experiments(settings)
    running = next((entry for entry in every if entry.state == "running"), None)
    ended = [entry for entry in every if entry.state == "ended" and (before is None or entry.number < before)]
    newest = {entry.number: _newest(settings, entry) for entry in [*([running] if running else []), *ended[:SHOWN]]}
    serving = registry.champion(settings)
    challengers = [
        each
        for each in registry.model_versions(settings, most=MOST_LOOKED_AT)
        if each.is_servable and each.state != "held" and (serving is None or each.version != serving.version)
    ]
    return {
        "running": running,
        "ended": ended[:SHOWN],
        "newest": newest,
        "next_before": ended[SHOWN - 1].number if len(ended) > SHOWN else None,
        "is_older": before is not None,
        "challengers": challengers[:MOST_CHALLENGERS],
        "serves": serving is not None,
        "other_order": "precision" if settings.order == "value" else "value",
        "measures": MEASURES,
        "seen": _seen(every),
    }


def _newest(settings: Settings, entry: Experiment) -> str | None:
    looks = records.reports(settings, entry.number)
    return looks[-1].sentence if looks else None


def _seen(every: Sequence[Experiment]) -> str:
    """What tells one state of all experiments from any other."""
    return f"{every[0].number} {every[0].state}" if every else ""


def _refuse_if_stale(settings: Settings, seen: str) -> None:
    every = records.experiments(settings)
    if not every and seen:
        raise ChangedMeanwhileError(
            "There is no experiment, and this form knew one. Nothing was started. Start it again."
        )
    if _seen(every) != seen:
        newest = every[0]
        did, by, at = (
            ("started", newest.started_by, newest.started_at)
            if newest.state == "running"
            else ("ended", newest.ended_by, newest.ended_at)
        )
        raise ChangedMeanwhileError(
            f"{by} {did} {newest.design.name} at {at:%H:%M:%S %Z}, after you opened the form. Nothing was started. "
            "Look at what holds now, and start yours again if you still want to."
        )


def _design(
    settings: Settings,
    asked: Asked,
    name: str,
    hypothesis: str,
    kind: Kind,
    challenger: str,
    harm_bound: float,
    ends_on_harm: bool,
) -> Design:
    """The design that a form asks for, by the checks of the command.

    Raises:
        InputError: it is refused.
    """
    if asked.decides == "once" and asked.endless:
        raise InputError(ONCE_NEEDS_WEEKS)
    version = challenger.strip().removeprefix("v")
    if kind == "challenger" and not (version.isascii() and version.isdecimal()):
        raise InputError("Choose the version whose lists the share sees.")
    now = newest_cutoff(settings)
    return Design(
        name=checked_name(name.strip()),
        hypothesis=checked_text("The hypothesis", hypothesis),
        kind=kind,
        share=asked.share / 100,
        salt=records.new_salt(),
        starts_at=now,
        minimum_effect=asked.effect / 100,
        power=asked.power / 100,
        metric=asked.metric,
        also=asked.also,
        decides=asked.decides,
        harm_bound=harm_bound,
        ends_on_harm=ends_on_harm,
        challenger=int(version[:9]) if kind == "challenger" else None,
        list_order=("precision" if settings.order == "value" else "value") if kind == "order" else None,
        ends_at=None if asked.endless else now + timedelta(weeks=asked.weeks),
    )


def _planned(plans: Plans, settings: Settings, asked: Asked) -> dict[str, Any]:
    """What the part of the page shows that changes as the sliders move."""
    try:
        made = plans.of(settings, asked)
    except InputError as error:
        return {"planned": None, "unplanned": str(error)}
    (share,) = made.shares
    needed = share.weekly if asked.decides == "weekly" else share.once
    return {
        "planned": made,
        "unplanned": None,
        "needed": needed,
        "in_share": round(made.customers * asked.share / 100),
        "sentence": in_plain_words(asked, made, needed),
        "lines": plan_in_words(made),
    }


def in_plain_words(asked: Asked, made: Plan, needed: Needed) -> str:
    """What a plan means, in a few sentences for somebody who does not know statistics."""
    chance, power = round(100 * (needed.chance or 0)), asked.power
    words = MEASURES[asked.metric].words
    of_power = f"{power} of 100"
    looks = "if any weekly look may decide" if asked.decides == "weekly" else "with one look at the end"
    said = [
        f"If the lists change the {words} by {asked.effect}%, {chance} of 100 such experiments of {asked.weeks} weeks "
        f"would find it, {looks}."
    ]
    if needed.chance is not None and needed.chance >= made.power:
        said.append("That is enough.")
    elif needed.weeks is not None:
        said.append(f"For {of_power} it takes {needed.weeks} weeks.")
    else:
        said.append(f"For {of_power}, {made.most_weeks} weeks are too few: enlarge the share, or look for more.")
    if needed.smallest_effect is None:
        said.append(f"In {asked.weeks} weeks, no effect is large enough to be found in {of_power}.")
    else:
        said.append(f"The smallest effect that {asked.weeks} weeks find in {of_power} is {needed.smallest_effect:.1%}.")
    if asked.weeks > made.seen_weeks or (needed.weeks or 0) > made.seen_weeks:
        said.append(f"That is an extrapolation: it is based on {made.seen_weeks:.0f} weeks of the past.")
    return " ".join(said)


def is_blind(entry: Experiment) -> bool:
    """Whether nobody may see an effect yet: it runs, and is decided by one look at its end."""
    return entry.state == "running" and entry.design.decides == "once"


def shows_figure(entry: Experiment, figure: str) -> bool:
    """Whether a page may show a figure: intervals for one look when there is no more to come, and nothing if blind."""
    return not is_blind(entry) and (entry.state == "ended" or figure != EFFECT)


def _watched(entry: Experiment, look: Report) -> dict[str, Any]:
    """What the page of an experiment shows of its newest look: what its design can bear, and no more."""
    whole = experiment_report.shown(entry, look)
    shown: dict[str, Any] = {**vars(whole), "is_blind": is_blind(entry), "chart": None, "weeks": ()}
    if is_blind(entry):
        counts = tuple(f"{group} (" for group in ("treated", "control"))
        facts = [fact for fact in whole.facts if not fact.startswith(counts)]
        return shown | {"facts": facts, "rows": [], "figures": {}, "attribution": None}
    weeks = [effect for effect in look.results.by_week if effect.is_finite()]
    shown |= {
        "chart": effect_chart(weeks, entry.design) if weeks else None,
        "weeks": weeks,
        "figures": {name: caption for name, caption in whole.figures.items() if shows_figure(entry, name)},
    }
    if entry.state == "running":
        several = any(result.together is not None for result in look.results.measures)
        shown["head"] = (
            "",
            "treated",
            "control",
            "in percent",
            "[always valid]",
            *(["[all asked]"] if several else []),
        )
        shown["rows"] = [_always_valid(result) for result in look.results.measures]
    return shown


def _always_valid(result: MeasureResult) -> list[str]:
    """A measure's row while the experiment runs: only intervals that hold however often somebody looks."""

    def ends(interval: Interval) -> str:
        return f"[{interval.low:+.1%}, {interval.high:+.1%}]"

    return [
        result.words,
        experiment_report.number(result.treated),
        experiment_report.number(result.control),
        f"{result.always.value:+.1%}",
        ends(result.always) if result.enough else "too few",
        *([ends(result.together)] if result.together is not None else []),
    ]


def effect_chart(weeks: Sequence[WeeklyEffect], design: Design) -> Chart:
    """The effect by week with its always-valid interval, and the least effect worth finding."""
    newest = weeks[-1]
    words = MEASURES[design.metric].words
    return signed_chart(
        f"Effect on the {words} by week, in percent",
        f"After {newest.week:g} weeks it is {newest.ratio:+.1%}, always-valid interval {newest.always_low:+.1%} to "
        f"{newest.always_high:+.1%}. The numbers are in the table below.",
        thinned([f"{effect.week:g}" for effect in weeks]),
        [(100 * effect.ratio, 100 * effect.always_low, 100 * effect.always_high) for effect in weeks],
        line=100 * design.minimum_effect,
    )


def ends_early(design: Design) -> list[str]:
    """What ends an experiment, or says something about it, before a person does; in sentences."""
    bound = percent(design.harm_bound)
    said = [
        f"Its planned end: {design.ends_at:%Y-%m-%d}." if design.ends_at else "It has no planned end.",
        f"Harm: if the share is surely worse off by more than {bound}, in {MEASURES[design.metric].words} or in "
        f"revenue per customer, on-call is alerted{', and it ends by itself' if design.ends_on_harm else ''}.",
    ]
    if design.kind == "challenger":
        said.append(f"v{design.challenger} becomes the champion: then everybody sees its lists.")
    if design.kind == "holdout":
        said.append(
            "Lists that lose: if personal lists surely sell less than best sellers, on-call is alerted. It does not "
            "end."
        )
    said.append(
        f"Nothing is decided before {FEWEST_WEEKS} weeks, before {FEWEST_BUYERS} customers of each group have bought, "
        "or during a sample ratio mismatch."
    )
    return said
