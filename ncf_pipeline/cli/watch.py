"""`watch`: tells on-call what Airflow can no longer tell itself."""

import logging
import sys
from typing import Annotated

import typer

from ncf_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(watch)


def watch(
    every: Annotated[float, typer.Option(min=5, max=600, help="Seconds between two looks.")] = 60,
    once: Annotated[bool, typer.Option("--once", help="Look once, print what is broken, and end.")] = False,
) -> None:
    """Watch Airflow from outside, and tell on-call what it can no longer tell itself. Runs until it is stopped.

    It tells of tasks that were killed, runs that do not begin or end, schedules that did not start a run, DAGs that
    cannot be read, and parts of Airflow that died; and when each is over. `ncf-pipeline up` starts it with Airflow.

    It needs NCF_AIRFLOW_URL, NCF_AIRFLOW_USER and NCF_AIRFLOW_PASSWORD (a user who may read), NCF_DATABASE_URL and
    NCF_ALERTS. After each look it calls NCF_HEARTBEAT_URL: a service there can tell that the watcher itself died.
    """
    from datetime import timedelta

    from ncf_pipeline.watcher.judging import Limits
    from ncf_pipeline.watcher.watch import Watcher

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs
    if once:
        # Nobody remembers what an earlier look has seen.
        found = Watcher(load_settings(), Limits(dead=timedelta(0))).look()
        for what in found or ["Nothing is broken."]:
            typer.echo(what)
        return
    Watcher(load_settings()).watch(every=every)
