"""The pages in Airflow's UI: only users who are logged in see them."""

import pytest


@pytest.fixture
def app(dags):
    from ncf_pipeline.airflow.pages import app

    return app


def test_every_page_first_requires_a_login(app):
    from fastapi.routing import APIRoute
    from fastapi.testclient import TestClient

    pages = [(method, route.path) for route in app.routes if isinstance(route, APIRoute) for method in route.methods]
    assert len(pages) == 8
    with TestClient(app, follow_redirects=False) as stranger:
        for method, path in pages:
            asked = stranger.request(
                method, path.format(batch_id=1, version=1, name="spring", figure="effect"), data={"number": "14646"}
            )
            assert (asked.status_code, asked.json()) == (401, {"detail": "Not authenticated"}), path


def test_the_entry_in_the_navigation_leads_to_existing_pages_and_icons(app):
    from fastapi.testclient import TestClient

    from ncf_pipeline.airflow.plugin import RecommenderPlugin

    (view,) = RecommenderPlugin.external_views
    (mounted,) = RecommenderPlugin.fastapi_apps
    assert view["href"] == f"{mounted['url_prefix']}/".lstrip("/")
    with TestClient(app) as anybody:
        for name in ("icon", "icon_dark_mode"):
            assert anybody.get(view[name].removeprefix("recommender")).headers["content-type"] == "image/svg+xml"
