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


_PAGE = PREFIX.lstrip("/")  # relative: Airflow's UI knows under which path it is served itself


class RecommenderPlugin(AirflowPlugin):
    """Pages under `/recommender`, an entry in the navigation, and the links to them."""

    name = "recommender"
    fastapi_apps = [{"app": _pages, "url_prefix": PREFIX, "name": "Recommender"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Recommender",
            "href": f"{_PAGE}/",
            "destination": "nav",
            "url_route": "recommender",
            "icon": f"{_PAGE}/static/icon.svg",
            "icon_dark_mode": f"{_PAGE}/static/icon-dark.svg",
        }
    ]
    operator_extra_links = [DataDocsLink(), ModelLink()]  # noqa: RUF012
