"""What a terminal of 80 columns shows."""

import io

import pytest
from rich.console import Console

from ncf_pipeline.cli import rendering as tables

SCORE = {
    "question": "for_you", "cohort": "everyone", "recommender": "candidate", "k": 5, "customers": 1547,
    "precision_at_k": 0.3338, "recall_at_k": 0.1177, "ndcg_at_10": 0.3441, "catalog_coverage": 0.202,
    "precision_low": 0.318, "precision_high": 0.349, "ahead": None, "ahead_low": None, "ahead_high": None,
    "map_at_10": 0.1834, "revenue_at_k": 0.1423, "novelty": 4.25,
}  # fmt: skip
BEHIND = SCORE | {"recommender": "personal_frequency", "ahead": 0.0508, "ahead_low": 0.0415, "ahead_high": 0.0596}


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of a width; prints into it, and gives what it shows."""

    def show(width, make):
        monkeypatch.setenv("COLUMNS", str(width))
        console = Console(file=io.StringIO())
        console.print(make())
        return console.file.getvalue()

    return show


@pytest.mark.parametrize("cohorts", [False, True])
def test_an_evaluation_fits_and_nothing_is_cut(terminal, cohorts):
    scores = [SCORE, BEHIND, SCORE | {"cohort": "5+ invoices"}, BEHIND | {"cohort": "5+ invoices"}]
    text = terminal(80, lambda: tables.evaluation_table(scores, title="v1", cohorts=cohorts, intervals=True))
    assert "…" not in text
    assert "personal frequency 0.3338 +0.051 [+0.042, +0.060]" in " ".join(text.split())
    assert "for_you: 1,547 customers" in text
    assert ("5+ invoices" in text) == cohorts


def test_a_wide_terminal_shows_more(terminal):
    text = terminal(120, lambda: tables.evaluation_table([BEHIND], title="v1", intervals=True))
    assert "0.318 to 0.349" in text
    assert "novelty" not in text


def test_the_widest_shows_all_that_is_known(terminal):
    earlier = SCORE | {"map_at_10": None, "revenue_at_k": None, "novelty": None}
    text = terminal(140, lambda: tables.evaluation_table([SCORE, BEHIND, earlier], title="v1", intervals=True))
    assert "…" not in text
    candidate, behind, older = (" ".join(line.split()) for line in text.splitlines() if "0.3338" in line)
    assert candidate.endswith("0.3441 0.1834 14.2% 4.2 20.2%")
    assert behind.endswith("0.1834 14.2% 4.2 20.2%")
    assert older.endswith("0.3441 20.2%")


def test_versions_fit(terminal):
    entry = {
        "version": 12, "state": "champion", "cutoff": "2011-12-09T12:50:01", "snapshot_id": "s000012",
        "created_at": "2026-11-23T21:50:18", "promoted_at": "2026-11-23T21:55:18",
    }  # fmt: skip
    text = terminal(80, lambda: tables.versions_table([entry]))
    assert "v12 champion 2011-12-09 12:50 s000012 2026-11-23 2026-11-23 21:55" in " ".join(text.split())
