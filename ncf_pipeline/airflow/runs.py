"""Starts a run of a DAG for somebody who looks at a page, with their own rights."""

from typing import Any

import anyio.from_thread
import httpx
from fastapi import HTTPException, Request

AIRFLOW = "ncf_pipeline.airflow"
"""Where a request of a page holds the application of Airflow that the page is mounted in."""


def start_run(request: Request, dag_id: str, conf: dict[str, Any]) -> bool:
    """Triggers a DAG through Airflow's REST API, without leaving the process. Airflow decides whether the user may.

    Called in a thread that serves a request.

    Args:
        request: of the user.
        dag_id: of the DAG.
        conf: params of the run.

    Returns:
        Whether the run can begin: False if the DAG is switched off (paused), so that it waits.

    Raises:
        HTTPException: 403, the user may not; 503, Airflow refused otherwise, such as a DAG that it has not read yet.
    """
    return anyio.from_thread.run(_start, request, dag_id, conf)


async def _start(request: Request, dag_id: str, conf: dict[str, Any]) -> bool:
    airflow = request.scope.get(AIRFLOW)
    if airflow is None:
        raise HTTPException(503, f"This page is not a part of Airflow, so it cannot start {dag_id}.")
    headers = {name: request.headers[name] for name in ("cookie", "authorization") if name in request.headers}
    transport = httpx.ASGITransport(app=airflow, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow", headers=headers) as api:
        run = await api.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        if run.status_code == 403:
            raise HTTPException(403, f"You may not start {dag_id}. Ask whoever administers Airflow.")
        if run.is_error:
            raise HTTPException(503, f"Airflow did not start {dag_id}: {_why(run)}.")
        dag = await api.get(f"/api/v2/dags/{dag_id}")
        return not (dag.is_success and dag.json()["is_paused"])


def _why(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    return detail.rstrip(".") if isinstance(detail, str) else f"it answered {answer.status_code}"
