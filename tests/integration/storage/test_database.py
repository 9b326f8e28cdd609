"""Rows by name, from a real Postgres."""

import gc
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pytest

from ncf_pipeline.storage import database
from ncf_pipeline.storage.database import query_records, read_records, stream, transaction
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


AWKWARD = ("plain", "a\nline", 'a "quote"', '"', '""\n', '\n"', "", None, "ö, and 😀")
TEXTS = pl.Schema({"number": pl.Int64(), "text": pl.String()})
NUMBERED = (
    "select number, (array[{}])[1 + mod(number, {})] from generate_series(0, %(last)s) as number order by number"
).format(", ".join("null" if text is None else f"e'{text}'" for text in AWKWARD), len(AWKWARD))


@pytest.mark.parametrize("at_once", [1, 7, 64, 1 << 25])
def test_rows_come_whole_and_in_order_however_many_are_taken_at_once(settings, monkeypatch, at_once):
    monkeypatch.setattr(database, "_BYTES_AT_ONCE", at_once)
    tables = []
    with transaction(settings) as connection:
        stream(connection, NUMBERED, TEXTS, tables.append, last=99)
    assert pl.concat(tables).rows() == [(number, AWKWARD[number % len(AWKWARD)]) for number in range(100)]
    assert (len(tables) > 10) == (at_once < 100)


def test_what_came_before_an_error_of_the_server_is_not_taken(settings):
    tables = []
    with pytest.raises(Exception, match="division by zero"), transaction(settings) as connection:
        stream(connection, "select 1 / (50 - n) as n from generate_series(1, 99) as n", TEXTS, tables.append)
    gc.collect()
    assert tables == []
