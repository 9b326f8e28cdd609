"""The pages under `/recommender` in Airflow's UI: who may see them, and where to log in."""

import hashlib
import logging
import secrets
from typing import Annotated
from urllib.parse import quote, urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.configuration import conf
from fastapi import Depends, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from ncf_pipeline.airflow.runs import answer_question, start_run
from ncf_pipeline.airflow.settings import PREFIX, task_settings
from ncf_pipeline.airflow.work import AirflowWork
from ncf_pipeline.errors import ArtifactError, InputError, StoreUnavailableError
from ncf_pipeline.pages.forms import Access
from ncf_pipeline.pages.headers import headers, policy
from ncf_pipeline.pages.navigation import entry_of, with_bar
from ncf_pipeline.pages.recommender.app import CUSTOMERS, create_app, login_page, root_of
from ncf_pipeline.pages.recommender.experiments import EXPERIMENTS
from ncf_pipeline.pages.recommender.quarantine import QUARANTINE
from ncf_pipeline.pages.recommender.rules import RULES
from ncf_pipeline.pages.recommender.versions import VERSIONS, Deciding
from ncf_pipeline.pages.recommender.work import Action, Desk, Person
from ncf_pipeline.settings import load_settings

logger = logging.getLogger(__name__)

# Such a page is one file: its style and figures are inside. It shows text from invoices: it may load and run nothing.
_HEADERS = headers(policy(style_src="'unsafe-inline'", img_src="data:", framed_by="'self'"))

_SEES_MODELS = Depends(requires_access_dag("GET", param_dag_id="retrain_recommender"))


def sees_customers(user: GetUserDep) -> bool:
    """Whether a user may look customers up: what somebody bought is personal.

    An auth manager grants it by name, as read access to the view `Recommender customers`.
    """
    return _is_granted(user, "GET", CUSTOMERS)


def changes_rules(user: GetUserDep) -> bool:
    """Whether a user may change a merchandiser's rules.

    An auth manager grants it by name, as edit access to the view `Recommender rules`.
    """
    return _is_granted(user, "PUT", RULES)


def sees_lines(user: GetUserDep) -> bool:
    """Whether a user may see lines in quarantine, which name customers.

    An auth manager grants it by name, as read access to the view `Recommender quarantine`.
    """
    return _is_granted(user, "GET", QUARANTINE)


def settles_lines(user: GetUserDep) -> bool:
    """Whether a user may release and discard lines in quarantine.

    An auth manager grants it by name, as edit access to the view `Recommender quarantine`.
    """
    return _is_granted(user, "PUT", QUARANTINE)


def decides_versions(user: GetUserDep) -> bool:
    """Whether a user may decide which version serves.

    An auth manager grants it by name, as edit access to the view `Recommender versions`.
    """
    return _is_granted(user, "PUT", VERSIONS)


def runs_experiments(user: GetUserDep) -> bool:
    """Whether a user may start and stop experiments.

    An auth manager grants it by name, as edit access to the view `Recommender experiments`.
    """
    return _is_granted(user, "PUT", EXPERIMENTS)


def _answer(request: Request, version: int, may_serve: bool, reason: str | None) -> bool:
    option = ApprovalOperator.APPROVE if may_serve else ApprovalOperator.REJECT
    return answer_question(
        request, "retrain_recommender", "approve", f"May v{version} serve?", option, {"reason": reason}
    )


def _is_granted(user: BaseUser, method: ResourceMethod, view: str) -> bool:
    manager = get_auth_manager()
    if not manager.is_authorized_custom_view(method=method, resource_name=view, user=user):
        return False
    # The simple auth manager allows every view to everybody. There, only who may do so with connections may: Op and
    # Admin.
    tells_views_apart = not isinstance(manager, SimpleAuthManager)
    return tells_views_apart or manager.is_authorized_connection(method=method, user=user)


def name_of(user: GetUserDep) -> str:
    """The name of a user, as changes are recorded with it."""
    return user.get_name()


def _form_key() -> bytes:
    """What signs forms. All API servers of an installation have the same secret key."""
    secret = conf.get("api", "secret_key", fallback="")
    return hashlib.sha256(f"recommender forms {secret}".encode()).digest() if secret else secrets.token_bytes(32)


def log_in(request: Request) -> RedirectResponse:
    """Sends a person to the login, and from there back to what they asked for.

    What a form sent is not kept, so after it the login leads back to the page that the form stands under.
    """
    root = root_of(request)
    asked = quote(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
    if request.method not in ("GET", "HEAD"):
        asked = root + entry_of(request.url.path.removeprefix(root)).address
    return RedirectResponse(f"{root}login?{urlencode({'next': asked})}", status_code=303)


def person(user: GetUserDep) -> Person:
    """Who looks at the page, and what Airflow lets them do with a DAG: start a run, or pause and unpause it."""

    def may(dag_id: str, action: Action) -> bool:
        entity = DagAccessEntity.RUN if action == "start" else None
        method: ResourceMethod = "POST" if action == "start" else "PUT"
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        return get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user)

    return Person(user.get_name(), may)


app = create_app(
    task_settings,
    seen_by=[_SEES_MODELS],
    sees_customers=sees_customers,
    desk=Desk(AirflowWork(), person, _form_key(), start_run),
    changes_rules=Access(changes_rules, name_of, _form_key(), start_run),
    settles_lines=Access(settles_lines, name_of, _form_key(), start_run, sees_lines),
    decides_versions=Deciding(decides_versions, name_of, _form_key(), start_run, answer=_answer),
    runs_experiments=Access(runs_experiments, name_of, _form_key(), start_run),
    log_in=log_in,
)


@app.get("/login")
def login(request: Request, next: str = "") -> HTMLResponse:  # noqa: A002 - as Airflow names it
    """Leads to Airflow's login, which only knows an address without its fragment, such as a section of the runbook."""
    root = root_of(request)
    airflow = root.removesuffix(f"{PREFIX}/")
    # Airflow checks the address again, whichever auth manager it has.
    ours = next if next.startswith(root) else root
    return login_page(request, f"{airflow}/api/v2/auth/login?{urlencode({'next': ours})}")


@app.get(
    "/data-docs/invoices/batch-{batch_id}.html",
    dependencies=[Depends(requires_access_dag("GET", param_dag_id="ingest_invoices"))],
)
def data_docs_page(batch_id: Annotated[int, Path(ge=1)]) -> HTMLResponse:
    """The Data Docs of a batch: every rule, and the lines that broke it."""
    from ncf_pipeline.ingest import data_docs

    try:
        page = data_docs.read_page(load_settings(), batch_id)
    except StoreUnavailableError:
        raise
    except ArtifactError as error:
        # The error says where the store is. That is for the log.
        logger.warning("%s", error)
        raise HTTPException(404, f"Batch {batch_id} has no page. A page is written when a batch is checked.") from error
    return HTMLResponse(with_bar(page, "data-docs/", "../../"), headers=_HEADERS)


@app.get("/models/v{version}", dependencies=[_SEES_MODELS])
def model_page(version: Annotated[int, Path(ge=1)]) -> HTMLResponse:
    """The page of a model version: the gate's decision, the evaluation and the figures."""
    from ncf_pipeline.pages import model_page
    from ncf_pipeline.training import report as reports

    settings = task_settings()
    try:
        summary = reports.retrain_summary(settings, version)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
    return HTMLResponse(model_page.page(summary, reports.figures(settings, version)), headers=_HEADERS)
