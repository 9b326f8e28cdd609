"""The pages under `/recommender` in Airflow's UI. Only users who are logged in and may see the DAG see them."""

from typing import Annotated

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Path
from fastapi.responses import HTMLResponse

from ncf_pipeline.airflow.settings import task_settings
from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.pages import HEADERS
from ncf_pipeline.pages.recommender.app import routes, static_files
from ncf_pipeline.settings import load_settings

# Such a page is one file: its style and figures are inside. It shows text from invoices: it may load and run nothing.
_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'",
}

_SEES_MODELS = Depends(requires_access_dag("GET", param_dag_id="retrain_recommender"))
_SEES_LISTS = Depends(requires_access_dag("GET", param_dag_id="refresh_lists"))

app = FastAPI(title="Recommender", docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/static", static_files())
app.include_router(routes(task_settings, seen_by=[_SEES_MODELS], customers_seen_by=[_SEES_LISTS]))


@app.get(
    "/data-docs/invoices/batch-{batch_id}.html",
    dependencies=[Depends(requires_access_dag("GET", param_dag_id="ingest_invoices"))],
)
def data_docs_page(batch_id: Annotated[int, Path(ge=1)]) -> HTMLResponse:
    """The Data Docs of a batch: every rule, and the lines that broke it."""
    from ncf_pipeline.ingest import data_docs

    try:
        return HTMLResponse(data_docs.read_page(load_settings(), batch_id), headers=_HEADERS)
    except ArtifactError as error:
        raise HTTPException(404, str(error)) from error


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
