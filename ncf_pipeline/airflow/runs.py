"""Starts a run of a DAG, or answers its question, for somebody who looks at a page, with their own rights."""

from typing import Any
from urllib.parse import quote

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
    async with _airflow(request, dag_id) as api:
        run = await api.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        _refuse(run, f"start {dag_id}")
        dag = await api.get(f"/api/v2/dags/{dag_id}")
        return not (dag.is_success and dag.json()["is_paused"])


def answer_question(
    request: Request, dag_id: str, task_id: str, subject: str, option: str, params: dict[str, Any]
) -> bool:
    """Answers a question under Required Actions, as `start_run` starts a run. Airflow decides whether the user may.

    Args:
        request: of the user.
        dag_id: of the DAG.
        task_id: of the task that asks.
        subject: of the question.
        option: the chosen one.
        params: what the question asks besides.

    Returns:
        Whether a run asks it: False if none does, or somebody was faster.

    Raises:
        HTTPException: 403, the user may not; 503, Airflow refused otherwise.
    """
    return anyio.from_thread.run(_answer, request, dag_id, task_id, subject, option, params)


async def _answer(
    request: Request, dag_id: str, task_id: str, subject: str, option: str, params: dict[str, Any]
) -> bool:
    async with _airflow(request, dag_id) as api:
        asked = {"response_received": "false", "subject_search": subject, "limit": "50"}
        found = await api.get(f"/api/v2/dags/{dag_id}/dagRuns/~/hitlDetails", params=asked)
        _refuse(found, f"answer {dag_id}")
        for question in found.json()["hitl_details"]:
            task = question["task_instance"]
            if question["subject"] != subject or task["task_id"] != task_id:
                continue
            run = quote(task["dag_run_id"], safe="")
            path = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/{task['map_index']}/hitlDetails"
            answered = await api.patch(path, json={"chosen_options": [option], "params_input": params})
            if answered.status_code == 409:
                return False
            _refuse(answered, f"answer {dag_id}")
            return True
    return False


def _airflow(request: Request, dag_id: str) -> httpx.AsyncClient:
    """Airflow's REST API in this process, as the user."""
    airflow = request.scope.get(AIRFLOW)
    if airflow is None:
        raise HTTPException(503, f"This page is not a part of Airflow, so it cannot reach {dag_id}.")
    headers = {name: request.headers[name] for name in ("cookie", "authorization") if name in request.headers}
    transport = httpx.ASGITransport(app=airflow, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://airflow", headers=headers)


def _refuse(answer: httpx.Response, what: str) -> None:
    if answer.status_code == 403:
        raise HTTPException(403, f"You may not {what}. Ask whoever administers Airflow.")
    if answer.is_error:
        raise HTTPException(503, f"Airflow did not {what}: {_why(answer)}.")


def _why(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    return detail.rstrip(".") if isinstance(detail, str) else f"it answered {answer.status_code}"
