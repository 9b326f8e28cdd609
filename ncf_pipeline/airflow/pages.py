"""The pages under `/recommender` in Airflow's UI, only for users who are logged in."""

from typing import Annotated

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Path
from fastapi.responses import HTMLResponse

from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.settings import load_settings

# A page holds what files held: nothing in it may load or run anything.
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Cache-Control": "no-store"}

app = FastAPI(title="Recommender", docs_url=None, redoc_url=None, openapi_url=None)


@app.get(
    "/data-docs/invoices/batch-{batch_id}.html",
    dependencies=[Depends(requires_access_dag("GET", param_dag_id="ingest_invoices"))],
)
def data_docs_page(batch_id: Annotated[int, Path(ge=1)]) -> HTMLResponse:
    """The page of a validated batch."""
    from ncf_pipeline.ingest import data_docs

    try:
        return HTMLResponse(data_docs.read_page(load_settings(), batch_id), headers=_HEADERS)
    except ArtifactError as error:
        raise HTTPException(404, str(error)) from error
