"""What this package adds to Airflow's UI, found through its entry point.

Every task loads it, so the pages themselves are imported only where they are served.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from ncf_pipeline.airflow.links import DataDocsLink, ModelLink
from ncf_pipeline.airflow.settings import PREFIX


async def _pages(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    from ncf_pipeline.airflow.pages import app

    await app(scope, receive, send)


class RecommenderPlugin(AirflowPlugin):
    """Pages under `/recommender`, and the links to them."""

    name = "recommender"
    fastapi_apps = [{"app": _pages, "url_prefix": PREFIX, "name": "Recommender"}]  # noqa: RUF012
    operator_extra_links = [DataDocsLink(), ModelLink()]  # noqa: RUF012
