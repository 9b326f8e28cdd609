"""Rows by name, from a real Postgres."""

from dataclasses import dataclass
from datetime import datetime

import pytest

from ncf_pipeline.storage.database import query_records, read_records, transaction
from ncf_pipeline.storage.resources import query

CHOSEN = "select array['a', 'b'] as reasons, 7 as version, %(at)s::timestamp as at"


@dataclass(frozen=True)
class Decision:
    version: int
    at: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Other:
    version: int
    at: datetime


@pytest.fixture(autouse=True)
def chosen(monkeypatch):
    """A query named `chosen`, beside those of the package."""
    monkeypatch.setattr("ncf_pipeline.storage.database.query", lambda name: CHOSEN if name == "chosen" else query(name))


def test_columns_fill_the_fields_of_their_names_whatever_their_order(settings):
    at = datetime(2011, 12, 9)
    assert read_records(settings, Decision, "chosen", at=at) == [Decision(7, at, ("a", "b"))]


def test_a_column_without_a_field_is_an_error(settings):
    with transaction(settings) as connection, pytest.raises(TypeError, match="reasons"):
        query_records(connection, Other, "chosen", at=None)


def test_a_query_without_rows_returns_none(settings):
    assert read_records(settings, Decision, "gate_decision", version=1) == []
