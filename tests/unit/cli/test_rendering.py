"""Tables fit the terminal."""

import io
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from ncf_pipeline.cli import rendering as tables
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.registry.live_periods import KnownOf, PublicationPerformance
from ncf_pipeline.registry.versions import ModelVersion, RecentRetrain, StoredDecision

CANDIDATE = Scores(
    "candidate", "for_you", "everyone", k=5, customers=1547,
    precision_at_k=0.3338, precision_low=0.318, precision_high=0.349, ahead=None, ahead_low=None, ahead_high=None,
    recall_at_k=0.1177, ndcg_at_10=0.3441, catalog_coverage=0.202, full_lists=1.0, overlap=0.05,
    map_at_10=0.1834, revenue_at_k=0.1423, novelty=4.25,
)  # fmt: skip
BEHIND = replace(CANDIDATE, recommender="personal_frequency", ahead=0.0508, ahead_low=0.0415, ahead_high=0.0596)


RETRAINED = RecentRetrain(
    12, datetime(2011, 12, 9), "for_you", 5, 1547, 0.3338, 0.318, 0.349, "personal_frequency", 0.283, 0.27, 0.3, None,
    None, None, True, True,
)  # fmt: skip


@pytest.fixture
def terminal(monkeypatch):
    """Prints to a terminal of a given width; returns what it shows."""

    def show(width, make):
        monkeypatch.setenv("COLUMNS", str(width))
        console = Console(file=io.StringIO())
        console.print(make())
        return console.file.getvalue()

    return show


@pytest.mark.parametrize("cohorts", [False, True])
def test_an_evaluation_fits_and_nothing_is_cut(terminal, cohorts):
    scores = [CANDIDATE, BEHIND, *(replace(each, cohort="5+ invoices") for each in (CANDIDATE, BEHIND))]
    text = terminal(80, lambda: tables.evaluation_table(scores, title="v1", cohorts=cohorts, intervals=True))
    assert "…" not in text
    assert "personal frequency 0.3338 +0.0508 [+0.0415, +0.0596]" in " ".join(text.split())
    assert "for_you: 1,547 customers" in text
    assert ("5+ invoices" in text) == cohorts


@pytest.mark.parametrize(("width", "recall"), [(80, False), (100, True), (120, True)])
def test_known_customers_are_beside_everyone_and_nothing_is_cut(terminal, width, recall):
    known = [replace(each, cohort="known customers", precision_at_k=0.3901) for each in (CANDIDATE, BEHIND)]
    scores = [CANDIDATE, replace(BEHIND, recommender="recent_best_sellers"), *known]
    scores[3] = replace(scores[3], recommender="recent_best_sellers")
    text = terminal(width, lambda: tables.evaluation_table(scores, title="v1", intervals=True))
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "recent best sellers 0.3338 0.3901 " in " ".join(text.split())
    assert "+0.0508 [+0.0415, +0.0596]" in text
    assert ("R@5" in text) == recall


def test_a_wide_terminal_shows_more(terminal):
    text = terminal(120, lambda: tables.evaluation_table([BEHIND], title="v1", intervals=True))
    assert "[0.3180, 0.3490]" in text
    assert "novelty" not in text


def test_the_widest_terminal_shows_all_metrics(terminal):
    earlier = replace(CANDIDATE, map_at_10=None, revenue_at_k=None, novelty=None)
    text = terminal(140, lambda: tables.evaluation_table([CANDIDATE, BEHIND, earlier], title="v1", intervals=True))
    assert "…" not in text
    candidate, behind, older = (" ".join(line.split()) for line in text.splitlines() if "0.3338" in line)
    assert candidate.endswith("0.3441 0.1834 14.2% 4.2 20.2%")
    assert behind.endswith("0.1834 14.2% 4.2 20.2%")
    assert older.endswith("0.3441 20.2%")


def test_versions_fit(terminal):
    at = datetime(2026, 11, 23, 21, 50, 18)
    model = ModelVersion(
        version=12, state="champion", snapshot_id="s000012", cutoff=datetime(2011, 12, 9, 12, 50, 1),
        holdout_start=datetime(2011, 11, 11), config={}, requested_by="test", url=None, created_at=at,
        promoted_at=at + timedelta(minutes=5), parent=None, code=None, retired_at=None, withdrawn_at=None,
        pruned_at=None,
    )  # fmt: skip
    held = replace(model, version=11, state="retired", withdrawn_at=at)
    quality = {12: RETRAINED, 11: replace(RETRAINED, version=11, best_baseline=None)}
    text = terminal(80, lambda: tables.versions_table([model, held], quality))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "v12 champion 2011-12-09 s000012 2026-11-23 0.3338 +0.0508" in " ".join(text.split())
    assert "v11 retired, 2011-12-09 s000012 2026-11-23 0.3338 withdrawn" in " ".join(text.split())
    assert "P@5" in text
    assert "0.3338" not in terminal(80, lambda: tables.versions_table([model], {}))


def test_a_reason_of_the_gate_that_wraps_is_indented(terminal):
    reason = "for_you: Precision@5 0.2700 does not beat personal frequency (0.2735), -0.0035 [-0.0135, +0.0065]"
    decision = StoredDecision(False, (reason,), {}, datetime(2026, 11, 23))
    lines = terminal(60, lambda: tables.decision_lines(decision, 7)).splitlines()
    assert lines[1].startswith("  - for_you: ")
    assert lines[2].startswith("    ")
    assert " ".join(" ".join(lines[1:3]).split()) == f"- {reason}"


def test_live_performance_fits_and_nothing_wraps(terminal):
    measured = {"question": "for_you", "k": 5, "customers": 1547, "without_list": 7, "newcomers": 12, "number": 14}
    unknown = dict.fromkeys(("precision_low", "precision_high", "ahead_low", "ahead_high", "recall_at_k", "ndcg_at_10"))
    window = {"bought_from": datetime(2011, 12, 2), "bought_until": datetime(2011, 12, 9), "version": 1}
    rows = [
        PublicationPerformance(recommender=name, precision_at_k=precision, ahead=ahead, **measured, **unknown, **window)
        for name, precision, ahead in (("live", 0.3352, None), ("personal_frequency", 0.2852, 0.05))
    ]
    text = terminal(80, lambda: tables.live_table(rows))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "p000014 12-02 to 12-09 1,547 7 12 0.3352 0.2852 +0.0500" in " ".join(text.split())


def test_when_lists_were_live_fits_and_says_what_is_not_loaded_yet(terminal):
    noon = datetime(2026, 11, 25, 12)
    of = {"version": 1, "began_by": "publication", "began_at": noon, "ended_at": noon, "clock": "wall"}
    hour = timedelta(hours=1)
    periods = [
        KnownOf(
            number=1, answers_from=noon, answers_until=noon + hour, measured_until=noon + hour,
            not_loaded_from=None, **of,
        ),
        KnownOf(
            number=2, answers_from=noon + hour, answers_until=noon + 3 * hour, measured_until=noon + 1.5 * hour,
            not_loaded_from=noon + 2 * hour, **of,
        ),
        KnownOf(
            number=3, answers_from=noon + 3 * hour, answers_until=None, measured_until=None,
            not_loaded_from=noon + 3 * hour, **of,
        ),
    ]  # fmt: skip
    text = terminal(80, lambda: tables.periods_table(periods))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "p000001 11-25 12:00 11-25 13:00 all" in lines
    assert "p000002 11-25 13:00 11-25 15:00 until 11-25 13:30 from 11-25 14:00" in lines
    assert "p000003 11-25 15:00 now live nothing all" in lines
