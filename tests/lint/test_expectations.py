"""The rules' SQL, as Postgres before 16 reads it: there, what is selected from must have a name."""

import json
import re
from pathlib import Path

import pytest

EXPECTATIONS = Path(__file__).parents[2] / "expectations"


def queries():
    for path in sorted(EXPECTATIONS.glob("*.json")):
        for rule in json.loads(path.read_text())["expectations"]:
            if query := rule["kwargs"].get("unexpected_rows_query"):
                yield pytest.param(query, id=rule["meta"]["id"])


@pytest.mark.parametrize("query", queries())
def test_a_batch_is_named_once(query):
    # Great Expectations names it, but where it sees a join.
    joins = re.search(r"\bjoin\b", query, re.IGNORECASE) is not None
    for name in re.findall(r"\{batch\}( as \w+)?", query):
        assert bool(name) == joins
