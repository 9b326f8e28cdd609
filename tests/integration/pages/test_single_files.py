"""Pages that are one file, in a real browser under the policy that they are served with: they need nothing else."""

from datetime import UTC, datetime
from pathlib import Path

import for_everybody
import pytest

from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.ingest import stages as ingest
from ncf_pipeline.pages import model_page
from ncf_pipeline.registry.versions import ModelVersion, StoredDecision
from ncf_pipeline.training import figures
from ncf_pipeline.training.report import RetrainSummary

pytestmark = pytest.mark.timeout(180)

AT = datetime(2026, 11, 23, 21, 50, tzinfo=UTC)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,France"
ZERO = "536365,85123A,<b>HOLDER</b>,0,2010-12-01 08:26:00,2.55,17850,France"


def page_of_a_batch(settings):
    settings.inbox_path.mkdir()
    (settings.inbox_path / "day.csv").write_text(f"{HEADER}\n{GOOD}\n{ZERO}")
    ingest.ingest(settings)
    folder = Path(settings.artifacts.removeprefix("file://")) / "data_docs" / "invoices"
    return (folder / "batch-000001.html").read_text()


def page_of_a_model():
    model = ModelVersion(
        version=12, state="held", snapshot_id="s000012", cutoff=datetime(2011, 12, 9), url=None,
        holdout_start=datetime(2011, 11, 11), config={}, requested_by="test", created_at=AT, promoted_at=None,
        parent=None, code=None, retired_at=None, withdrawn_at=None, pruned_at=None,
    )  # fmt: skip
    scores = tuple(
        Scores(name, "for_you", cohort, 5, 1547, 0.33, 0.32, 0.35, 0.05, 0.04, 0.06, 0.12, 0.34, 0.2, 1.0, 0.05)
        for cohort in ("everyone", "5+ invoices")
        for name in ("candidate", "recent_best_sellers")
    )
    decision = StoredDecision(False, ("it does not beat personal frequency",), {"thresholds": {"max_overlap": 0.5}}, AT)
    drawn = [(figures.CAPTIONS[figures.PRECISION], figures.precision_of_all(scores))]
    return model_page.page(RetrainSummary(model, [1], scores, decision, (), ()), drawn)


@pytest.fixture
def open_page(page):
    """Opens a page as a server would answer it. Another request, or a violation of the policy, fails the test."""

    def open_at(content):
        headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
        page.route("**/*", lambda route: route.fulfill(body=content, headers=headers))
        page.goto("http://127.0.0.1:1/page.html")
        page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true })")
        return page

    return open_at


@pytest.mark.parametrize("kind", ["batch", "model"])
def test_a_page_is_for_everybody_and_fits_a_phone(settings, open_page, lacks, kind):
    page = open_page(page_of_a_batch(settings) if kind == "batch" else page_of_a_model())
    assert lacks() == []
    for width in for_everybody.PHONES:
        page.set_viewport_size({"width": width, "height": 844})
        inside = "() => [...document.querySelectorAll('.scroll')].map(each => each.scrollWidth - each.clientWidth)"
        assert max(page.evaluate(inside), default=0) <= 1, width  # a table needs no scrolling of its own


def test_a_figure_is_shown_without_a_request(open_page):
    page = open_page(page_of_a_model())
    assert page.evaluate("() => [...document.images].map(image => image.naturalWidth > 0)") == [True]
