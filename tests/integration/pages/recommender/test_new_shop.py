"""The Recommender page of a shop without data."""

import re

import pytest
from fastapi.testclient import TestClient

from ncf_pipeline.storage.database import transaction


@pytest.fixture
def page(site, settings):
    """Its overview."""
    return lambda: TestClient(site(settings)).get("/recommender/").text


def test_a_new_shop_sees_the_first_steps_and_which_are_done(page, settings):
    assert "<title>No model is serving yet · Recommender</title>" in page()
    assert re.findall(r'<li class="(done|next|later)">', page()) == ["next", "later", "later"]
    for section in ("retrains", "live", "experiments", "decisions", "batches"):
        assert re.search(rf'id="{section}">[^<]*</h2>\s*<p class="empty">[^<]* yet', page())
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into raw.batch (source, sha256, status, finished_at) values ('a', '0', 'merged', now())")
    assert re.findall(r'<li class="(done|next|later)">', page()) == ["done", "next", "later"]


def test_a_database_without_tables_says_what_to_run(page, settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("drop schema ml cascade")
    assert "Run `ncf-pipeline migrate` first." in page()
