"""The page of a model version, without a database."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.evaluation.summary import evaluation_tables
from ncf_pipeline.pages import model_page
from ncf_pipeline.registry.versions import ModelVersion, StoredDecision
from ncf_pipeline.training.report import RetrainSummary

AT = datetime(2026, 11, 23, 21, 50, tzinfo=UTC)
CANDIDATE = Scores(
    "candidate", "for_you", "everyone", k=5, customers=1547,
    precision_at_k=0.3338, precision_low=0.318, precision_high=0.349, ahead=None, ahead_low=None, ahead_high=None,
    recall_at_k=0.1177, ndcg_at_10=0.3441, catalog_coverage=0.202, full_lists=1.0, overlap=0.05,
)  # fmt: skip
BEHIND = replace(CANDIDATE, recommender="personal_frequency", ahead=0.0508, ahead_low=0.0415, ahead_high=0.0596)
OF_FEW = replace(CANDIDATE, cohort="5+ <invoices>", customers=312)


@pytest.fixture
def summary():
    """A version that the gate let through."""
    model = ModelVersion(
        version=12, state="champion", snapshot_id="s000012", cutoff=datetime(2011, 12, 9, 12, 50),
        holdout_start=datetime(2011, 11, 11), config={}, requested_by="test", url="file:///models/v000012",
        created_at=AT, promoted_at=AT, parent=None, code=None, retired_at=None, withdrawn_at=None, pruned_at=None,
    )  # fmt: skip
    details = {"incumbent": 7, "requested_by": "test", "thresholds": {"max_overlap": 0.5}}
    decision = StoredDecision(True, ("it beats <personal frequency>",), details, AT)
    return RetrainSummary(model, [1], (CANDIDATE, BEHIND, OF_FEW), decision, (), ())


def test_the_tables_are_those_of_the_evaluation(summary):
    page = model_page.page(summary, [])
    for table in evaluation_tables([CANDIDATE, BEHIND]):
        assert f"<h3>{table.title}</h3>" in page
        for row in table.rows:
            named = zip(table.headings, row.cells, strict=True)
            cells = "".join(f'<td data-of="{name}">{cell}</td>' for name, cell in named)
            assert f'<th scope="row">{row.recommender}</th>{cells}</tr>' in page
    assert page.count('<tr class="candidate">') == 2  # of everyone, and of a group of customers


def test_it_says_what_the_gate_decided_and_compared_with(summary):
    page = model_page.page(summary, [])
    assert "Gate: may serve</span> Decided 2026-11-23 21:50 UTC:" in page
    assert "<dt>Compared with</dt><dd>v7, the incumbent</dd>" in page
    assert "<dt>max_overlap</dt><dd>0.5</dd>" in page
    held = replace(summary, decision=replace(summary.decision, promote=False))
    assert "Gate: held</span> It will not serve. Decided" in model_page.page(held, [])


def test_names_are_text(summary):
    page = model_page.page(summary, [("A <figure>", b"<svg/>")])
    assert "it beats &lt;personal frequency&gt;" in page
    assert "for_you: 5+ &lt;invoices&gt;, 312 customers" in page
    assert 'alt="A &lt;figure&gt;"' in page
    assert re.findall(r'src="([^"]*)"', page) == ["data:image/svg+xml;base64,PHN2Zy8+"]


def test_a_version_without_evaluation_and_decision_has_a_page_too(summary):
    page = model_page.page(replace(summary, evaluation=(), decision=None), [])
    assert "The gate has not decided yet" in page
    assert "This version is not evaluated yet." in page
    assert "<table" not in page
    assert "<details" not in page
