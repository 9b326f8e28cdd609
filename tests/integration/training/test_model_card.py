"""The card and the page of a candidate that was let through and of one that was held."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import fsspec
import pytest

from ncf_pipeline.pages import model_page
from ncf_pipeline.pages.navigation import ENTRIES
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.training import report as reports
from ncf_pipeline.training import retrain
from ncf_pipeline.training.chances import ChancesTest
from ncf_pipeline.training.figures import CAPTIONS, CHANCES, precision_of_retrains

pytestmark = [
    pytest.mark.trains,
    pytest.mark.usefixtures("small_recipe"),
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("gate"),
]


def card_of(settings, version, *, backtest):
    url = artifacts.version_url(settings.artifacts, version, backtest=backtest)
    return url, artifacts.read_file(url, artifacts.CARD).decode()


def assert_shows_its_figures(url, card):
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", card)
    assert sorted(shown) == sorted(CAPTIONS)
    assert set(artifacts.read_manifest(url)["sha256"]) >= {artifacts.CARD, *shown}
    for name in shown:
        assert ElementTree.fromstring(artifacts.read_file(url, name)).tag.endswith("svg")


def test_the_card_of_the_champion_shows_the_decision_and_figures(shop):
    serving = registry.champion(shop).version
    url, card = card_of(shop, serving, backtest=False)
    assert "## Gate\nLet through at" in card
    assert "compared with the baselines alone. Requested by test." in card
    assert "beats personal frequency" in card
    assert "- Lists: for_you, discover, buy_again, similar by ncf; bought_together by baskets" in card
    assert "max_overlap 0.5" in card
    assert_shows_its_figures(url, card)


def test_the_card_of_a_candidate_that_was_held_says_why(shop, honest):
    version, _ = honest
    strict = shop.model_copy(update={"gate_min_coverage_ratio": 99.0})
    retrain.gate(strict, version)
    url, card = card_of(shop, version, backtest=True)
    assert f"compared with v{registry.champion(shop).version}, the incumbent" in card
    assert "of the catalogue is recommended; at least" in card
    assert_shows_its_figures(url, card)
    assert artifacts.load_model(url).customers
    # After another decision the card shows the latest.
    retrain.gate(shop, version)
    _, card = card_of(shop, version, backtest=True)
    assert "Let through at" in card
    assert card.count("## Gate") == 1
    assert "99%" not in card


def test_the_page_shows_decision_reasons_evaluation_and_figures_and_loads_nothing(shop, honest):
    version, _ = honest
    retrain.gate(shop, version)
    summary = reports.retrain_summary(shop, version)
    assert json.loads(json.dumps(summary.as_dict())) == summary.as_dict()
    page = model_page.page(summary, reports.figures(shop, version))
    assert f"<h1>Model v{version}</h1>" in page
    assert "Gate: may serve" in page
    assert "beats personal frequency" in page
    assert "<dt>Lists</dt><dd>for_you, discover, buy_again, similar by ncf; bought_together by baskets" in page
    assert page.count("<figure ") == len(CAPTIONS)
    # Followed when they are clicked, as on all of our pages.
    links = ["#main", "../", *(f"../{entry.address}" for entry in ENTRIES)]
    assert re.findall(r'<a [^>]*href="([^"]*)', page) == links
    loaded = re.findall(r'(?:src|href)="([^"]*)', re.sub("<a [^>]*>", "", page))
    assert len(loaded) == len(CAPTIONS)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in loaded)
    assert "<script" not in page


def test_what_a_page_shows_of_a_name_is_text(shop, honest):
    summary = reports.retrain_summary(shop, honest[0])
    model = replace(summary.model, snapshot_id="<script>alert(1)</script>")
    page = model_page.page(replace(summary, model=model, decision=None), [])
    assert "<script" not in page
    assert "has not decided yet" in page


@pytest.mark.parametrize("url", [None, "memory://nothing/models/v000002"], ids=["backtest", "refit"])
def test_a_version_whose_artifact_is_gone_has_a_page_without_figures(shop, honest, monkeypatch, url):
    model = replace(registry.model_version(shop, honest[0]), url=url)
    monkeypatch.setattr(registry, "model_version", lambda *_: model)
    nowhere = shop.model_copy(update={"artifacts_url": "memory://nothing"})
    assert reports.figures(nowhere, honest[0]) == []


def test_the_last_retrains_are_oldest_first_beside_the_best_baseline(shop, honest):
    version, _ = honest
    rows = registry.recent_retrains(shop, version)
    assert [(row.version, row.question) for row in rows[-2:]] == [(version, "for_you"), (version, "discover")]
    assert [row.served for row in rows if row.version == registry.champion(shop).version] == [True, True]
    baselines = [
        score.precision_at_k
        for score in registry.evaluation(shop, version)
        if (score.question, score.cohort) == ("for_you", "everyone")
        and score.recommender not in ("candidate", "network_alone", "incumbent")
    ]
    assert rows[-2].best_baseline == max(baselines)
    assert len(registry.recent_retrains(shop, version, count=1)) == 2
    assert precision_of_retrains(rows) == precision_of_retrains(rows)


def test_the_card_shows_how_true_the_chances_are_on_customers_that_they_were_not_fitted_on(shop, honest):
    version, model = honest
    url, card = card_of(shop, version, backtest=True)
    stored = artifacts.read_manifest(url)["chances"]
    tested = ChancesTest.from_dict(stored)
    section = card[card.index("## Chances") : card.index("## Gate")]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "%" in line and "mean" not in line]
    assert len(rows) == len(tested.candidate.bins) == 10
    assert f"Brier score {tested.candidate.brier:.4f}, skill {tested.candidate.skill:+.1%}" in section
    assert tested.days == shop.holdout_days
    assert tested.candidate.observed < 0.6 * tested.candidate.bins[-1].observed
    # The same weeks, other customers: only chance is left to tell them apart.
    assert tested.candidate.predicted == pytest.approx(tested.candidate.observed, rel=0.1)
    assert sum(each.low <= each.predicted <= each.high for each in tested.candidate.bins) >= 7
    assert tested.candidate.skill > 0.02
    # As served before: the champion's map is of the weeks before the holdout.
    assert tested.incumbent is not None
    assert tested.incumbent.skill > 0
    assert "The incumbent, with its map from earlier weeks" in section
    assert model.chances is None  # as `train` returns it; the stored one has them
    assert artifacts.load_model(url).chances.customers > tested.candidate.customers * 0.7


def test_the_model_that_serves_has_the_chances_of_its_backtest(shop):
    serving = registry.champion(shop).version
    urls = [artifacts.version_url(shop.artifacts, serving, backtest=backtest) for backtest in (True, False)]
    backtest, refit = (artifacts.load_model(url) for url in urls)
    assert refit.chances == backtest.chances
    assert refit.chances.days == shop.holdout_days
    assert refit.cutoff > backtest.cutoff
    _, card = card_of(shop, serving, backtest=False)
    assert "- The candidate: Brier score" in card
    assert "The incumbent, with its map" not in card  # there was none


def test_a_version_from_before_the_chances_keeps_its_figures(shop, honest, monkeypatch):
    manifest = artifacts.read_manifest

    def without(url, **options):
        found = manifest(url, **options)
        return found | {"sha256": {name: each for name, each in found["sha256"].items() if name != CHANCES}}

    monkeypatch.setattr(artifacts, "read_manifest", without)
    assert len(reports.figures(shop, honest[0])) == len(CAPTIONS) - 1


def test_a_card_that_is_damaged_is_not_shown(shop, honest):
    url, card = card_of(shop, honest[0], backtest=True)
    filesystem, path = fsspec.core.url_to_fs(url)
    stored = f"{path}/{artifacts.read_manifest(url)['stored_as'][artifacts.CARD]}"
    filesystem.pipe_file(stored, b"something else")
    try:
        with pytest.raises(artifacts.ArtifactError, match="damaged"):
            artifacts.read_file(url, artifacts.CARD)
    finally:
        filesystem.pipe_file(stored, card.encode())
