"""What this package adds to Airflow's UI. Airflow finds it through an entry point.

Every task imports this module, so the pages themselves are imported only when the API server answers a request.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from ncf_pipeline.airflow.links import DataDocsLink, ModelLink
from ncf_pipeline.airflow.settings import PREFIX


async def _pages(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    from ncf_pipeline.airflow.pages import app
    from ncf_pipeline.airflow.runs import AIRFLOW

    await app({**scope, AIRFLOW: scope.get("app")}, receive, send)


_PAGE = PREFIX.lstrip("/")  # relative, because Airflow's UI may be served under a path of its own


class RecommenderPlugin(AirflowPlugin):
    """The pages under `/recommender`, their entry in the navigation, and the links from tasks to them."""

    name = "recommender"
    fastapi_apps = [{"app": _pages, "url_prefix": PREFIX, "name": "Recommender"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Lists",  # Airflow's navigation cuts longer names
            "href": f"{_PAGE}/",
            "destination": "nav",
            "url_route": "recommender",
            "icon": f"{_PAGE}/static/icon.svg",
            "icon_dark_mode": f"{_PAGE}/static/icon-dark.svg",
        }
    ]
    operator_extra_links = [DataDocsLink(), ModelLink()]  # noqa: RUF012
