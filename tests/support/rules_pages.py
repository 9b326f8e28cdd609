"""The pages of the Recommender for `anna`, who may change rules, or may not."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from ncf_pipeline.pages.forms import Access
from ncf_pipeline.pages.recommender.app import create_app

KEY = b"a key of the test"


def rules_site(settings, may_change=True):
    """An application with the pages."""
    app = FastAPI()
    access = Access(lambda: may_change, lambda: "anna", KEY)
    app.mount("/recommender", create_app(lambda: settings, changes_rules=access))
    return app


def rules_client(settings, **access):
    """Sends requests to the pages as a browser does."""
    client = TestClient(rules_site(settings, **access), base_url="http://shop.example/recommender/")
    client.headers["accept"] = "text/html"
    return client
