"""The page `now`: what runs, what is next, what is paused and what that means, and buttons to start and switch.

Whoever mounts the page lends it a `Desk`: it knows the DAGs, and starts and switches them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from ncf_pipeline.errors import NcfError
from ncf_pipeline.pages.forms import check_token, form_token, of_this_site

Action = Literal["start", "switch"]
"""What somebody does with a DAG: starts a run, or switches its schedule on or off."""

Made = Literal["batch", "publication"]
"""What a run made that has a number of its own."""


@dataclass(frozen=True)
class Duty:
    """What a DAG is for.

    Attributes:
        dag_id: of the DAG.
        title: what it does, for people.
        paused: what it means that it is paused, as a sentence.
        starts: the words on the button that starts it; None if nobody starts it from here.
    """

    dag_id: str
    title: str
    paused: str
    starts: str | None = None


INGEST, REFRESH, RETRAIN, WATCH, UPLIFT = (
    "ingest_invoices",
    "refresh_lists",
    "retrain_recommender",
    "watch_freshness",
    "measure_uplift",
)
STEPS = (
    ("Load invoices and keep the lists new.", (INGEST, REFRESH)),
    ("Train a model every week.", (RETRAIN,)),
    ("Be told when something breaks.", (WATCH,)),
)
"""What a new shop switches on, in three steps."""

DUTIES = (
    Duty(INGEST, "Loads new invoices from the inbox", "Files in the inbox are not loaded.", "Load the inbox"),
    Duty(REFRESH, "Makes new lists when invoices were loaded", "New purchases reach no list.", "Refresh the lists"),
    Duty(RETRAIN, "Trains a new model, which may serve if the gate lets it", "No new model is trained.", "Retrain"),
    Duty(
        WATCH, "Looks at what shoppers see, and alerts on-call", "Nobody is told if the lists are old or gone.", "Watch"
    ),
    Duty(
        "take_events",
        "Takes in what visitors view, put into a basket or wish",
        "Events wait in Redis, which keeps about the newest 500,000.",
        "Take events",
    ),
    Duty(UPLIFT, "Measures the running experiment", "Nobody measures uplift, and no experiment is ended for harm."),
    Duty("find_bundles", "Finds products that sell together", "Bundles stay as they are."),
    Duty("prune_artifacts", "Removes old models and lists", "Old models and lists fill the store."),
)
"""The DAGs with a schedule, in the order of the page."""

BY_HAND = (
    Duty("rollback_model", "Serves an earlier version again", "A roll-back waits until it is switched on."),
    Duty("correct_quarantine", "Releases or discards lines", "A correction waits until it is switched on."),
    Duty("forget_customer", "Erases a customer", "An erasure waits until it is switched on."),
)
"""The DAGs that people start in Airflow, with a form of their own."""

_OF_PAGE = {duty.dag_id: duty for duty in (*DUTIES, *BY_HAND)}


@dataclass(frozen=True)
class Run:
    """A run of a DAG.

    Attributes:
        run_id: its id.
        state: `queued`, `running`, `success` or `failed`.
        since: when it was started or, if it waits, queued.
        ended: None while it is unfinished.
        by: who started it; None for a schedule.
    """

    run_id: str
    state: str
    since: datetime
    ended: datetime | None
    by: str | None


@dataclass(frozen=True)
class Dag:
    """A DAG as the orchestrator knows it.

    Attributes:
        dag_id: its id.
        is_paused: whether its schedule is off; its runs then wait, whoever started them.
        schedule: when it runs, in words; None if only people start it.
        next_at: when it runs next; None if it is paused, or nothing is due.
        unfinished: its queued and running runs, oldest first.
        last: its last finished run.
    """

    dag_id: str
    is_paused: bool
    schedule: str | None
    next_at: datetime | None
    unfinished: tuple[Run, ...]
    last: Run | None


class Orchestrator(Protocol):
    """Knows the DAGs, and switches them. Every method may raise `ServiceError`."""

    def dags(self, dag_ids: Sequence[str]) -> Mapping[str, Dag]:
        """Returns those of these DAGs that it knows, by id."""

    def switch(self, dag_ids: Sequence[str], *, on: bool, by: str) -> None:
        """Switches the schedules of DAGs on or off, all or none, and notes each in the audit log."""

    def runs_that_made(self, what: Made, numbers: Collection[int]) -> Mapping[int, tuple[str, str]]:
        """Returns the DAG and the run that made each of these; a command's, and that of a removed run, is left out."""

    def address(self, dag_id: str, run_id: str | None = None) -> str:
        """Returns where a person sees the DAG, or one of its runs."""


@dataclass(frozen=True)
class Person:
    """Who looks at the page.

    Attributes:
        name: as Airflow knows it.
        may: whether they may do something with a DAG.
    """

    name: str
    may: Callable[[str, Action], bool]


@dataclass(frozen=True)
class Desk:
    """What the page needs of whoever mounts it.

    Attributes:
        orchestrator: knows the DAGs.
        person: dependency that returns who looks.
        key: signs the tokens of forms; shared by all processes that answer.
        start: starts a run of a DAG with the user's own rights, as for every page that starts one.
    """

    orchestrator: Orchestrator
    person: Callable[..., Person]
    key: bytes
    start: Callable[[Request, str, dict[str, Any]], bool]


class Show(Protocol):
    """Renders a template as an answer."""

    def __call__(self, request: Request, name: str, *, status: int = 200, **shown: Any) -> HTMLResponse:
        """Renders `templates/NAME.html` with what it shows."""


def paused(desk: Desk | None) -> tuple[Duty, ...] | None:
    """Returns the duties that are paused; None if nobody knows."""
    if desk is None:
        return None
    try:
        dags = desk.orchestrator.dags([duty.dag_id for duty in DUTIES])
    except NcfError:
        return None
    return tuple(duty for duty in DUTIES if duty.dag_id in dags and dags[duty.dag_id].is_paused)


def routes(desk: Desk | None, seen_by: Sequence[Any], show: Show) -> APIRouter:
    """Makes the routes of the page.

    Args:
        desk: of whoever mounts it; None without Airflow: the page then says so.
        seen_by: dependencies that refuse users who may not see the page.
        show: renders a template.
    """
    router = APIRouter(dependencies=list(seen_by))
    if desk is None:

        @router.get("/now")
        def nothing(request: Request) -> HTMLResponse:
            """Says that nobody knows what runs."""
            return show(request, "work", error="This page is not part of an Airflow.", at=datetime.now(UTC))

        return router
    Who = Annotated[Person, Depends(desk.person)]  # noqa: N806 - a type

    @router.get("/now")
    def page(
        request: Request, who: Who, did: str = "", dag: Annotated[list[str] | None, Query()] = None
    ) -> HTMLResponse:
        """What runs, what is next, and what is paused."""
        at = datetime.now(UTC)
        token = form_token(desk.key, who.name)
        common: dict[str, Any] = {"at": at, "token": token, "who": who, "address": desk.orchestrator.address}
        said = _said(did, dag or [])
        try:
            dags = desk.orchestrator.dags(list(_OF_PAGE))
        except NcfError as error:
            return show(request, "work", status=503, error=str(error), at=at)
        duties = [(duty, dags[duty.dag_id]) for duty in DUTIES if duty.dag_id in dags]
        by_hand = [(duty, dags[duty.dag_id]) for duty in BY_HAND if duty.dag_id in dags]
        steps = []
        for words, ids in STEPS:
            off = [_OF_PAGE[each] for each in ids if each in dags and dags[each].is_paused]
            steps.append((words, off, all(who.may(duty.dag_id, "switch") for duty in off)))
        due = [(dag.next_at, duty) for duty, dag in duties if dag.next_at is not None]
        busy = [(duty, run) for duty, dag in (*duties, *by_hand) for run in dag.unfinished]
        return show(
            request, "work", error=None, said=said, duties=duties, by_hand=by_hand,
            steps=steps if any(off for _, off, _ in steps) else (),
            next=min(due, key=lambda each: each[0]) if due else None, busy=busy, **common,
        )  # fmt: skip

    @router.post("/now-start", dependencies=[Depends(of_this_site)])
    def start(
        request: Request, who: Who, dag: Annotated[str, Form()], token: Annotated[str, Form()] = ""
    ) -> RedirectResponse:
        """Starts a run, in the name of who asks."""
        duty = _allowed(desk, who, dag, "start", token)
        if duty.starts is None:
            raise HTTPException(422, f"{dag} is started in Airflow, which asks for what it needs.")
        with _refusal():
            known = desk.orchestrator.dags([dag]).get(dag)
        if known is None:
            raise HTTPException(404, f"Airflow does not know {dag}.")
        if known.is_paused:
            raise HTTPException(409, f"{dag} is paused, so a run would wait. Switch it on first.")
        if known.unfinished:
            raise HTTPException(
                409, f"{dag} already runs since {known.unfinished[0].since:%H:%M} UTC. Nothing was started."
            )
        desk.start(request, dag, {})
        return _back("started", dag)

    @router.post("/now-switch", dependencies=[Depends(of_this_site)])
    def switch(
        who: Who,
        dag: Annotated[list[str], Form()],
        to: Annotated[Literal["on", "off"], Form()],
        token: Annotated[str, Form()] = "",
    ) -> RedirectResponse:
        """Switches schedules on or off."""
        for each in dag:
            _allowed(desk, who, each, "switch", token)
        with _refusal():
            desk.orchestrator.switch(dag, on=to == "on", by=who.name)
        return _back(f"switched-{to}", *dag)

    return router


def _allowed(desk: Desk, who: Person, dag_id: str, action: Action, token: str) -> Duty:
    duty = _OF_PAGE.get(dag_id)
    if duty is None:
        raise HTTPException(404, "There is no such DAG on this page.")
    if not who.may(dag_id, action):
        what = "start runs of" if action == "start" else "pause or unpause"
        raise HTTPException(403, f"You may not {what} {dag_id}. Whoever administers Airflow can grant it.")
    check_token(desk.key, who.name, token)
    return duty


@contextmanager
def _refusal() -> Iterator[None]:
    """Tells a person what Airflow said."""
    try:
        yield
    except NcfError as error:
        raise HTTPException(503, f"{error} Nothing was changed.") from error


def _back(did: str, *dag_ids: str) -> RedirectResponse:
    return RedirectResponse(f"now?{urlencode({'did': did, 'dag': dag_ids}, doseq=True)}", status_code=303)


def _said(did: str, dag_ids: Sequence[str]) -> str | None:
    """What the page says after a form; an address that somebody made up says nothing."""
    if not dag_ids or not set(dag_ids) <= set(_OF_PAGE):
        return None
    names, are = " and ".join(dag_ids), "is" if len(dag_ids) == 1 else "are"
    words = {
        "started": f"{names} {are} started. Airflow runs it in a moment.",
        "switched-on": f"{names} {are} switched on.",
        "switched-off": f"{names} {are} switched off. {' '.join(_OF_PAGE[each].paused for each in dag_ids)}",
    }
    return words.get(did)
