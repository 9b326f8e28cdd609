"""A candidate is judged as it will be served: in the shop's order and with its variety. Its price is shown."""

from dataclasses import replace

import pytest

from ncf_pipeline.evaluation.scores import KNOWN, PLAIN
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import Variety
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.training import retrain
from ncf_pipeline.training.style_price import prices

pytestmark = [
    pytest.mark.trains,
    pytest.mark.usefixtures("small_recipe"),
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("gate"),
]

SHELVES = 6


@pytest.fixture(scope="module")
def shelved(shop):
    """The shop, with six categories."""
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into retail.product_category "
            f"select stock_code, 'shelf ' || abs(hashtext(stock_code)) % {SHELVES} from retail.product"
        )
    yield shop
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("truncate retail.product_category")


def test_the_gate_judges_what_will_be_served_and_says_what_it_costs(shelved, honest, monkeypatch):
    _, model = honest
    monkeypatch.setattr(retrain, "train", lambda *_, **__: model)
    settings = shelved.model_copy(update={"variety_category": 1, "variety_repeat": 1})
    version = retrain.backtest(settings, retrain.snapshot(settings), run_key="varied", requested_by="test")
    known = {
        (each.question, each.recommender): each
        for each in registry.evaluation(settings, version)
        if each.cohort == KNOWN
    }
    first = {
        (each.question, each.recommender): each
        for each in registry.evaluation(settings, honest[0])
        if each.cohort == KNOWN
    }
    decision = retrain.gate(settings, version)
    card = artifacts.read_file(artifacts.version_url(settings.artifacts, version, backtest=True), artifacts.CARD)
    words = "at most 1 of a category, at most 1 that was shown last week, among the first 5"
    for question in ("for_you", "discover"):
        served, plain = known[question, "candidate"], known[question, PLAIN]
        assert plain.precision_at_k == first[question, "candidate"].precision_at_k > served.precision_at_k
        assert plain.ahead == pytest.approx(served.precision_at_k - plain.precision_at_k)
        assert plain.ahead_low < plain.ahead < plain.ahead_high
        # What else could serve is judged alike: version 0 too would be served so. The baselines are as they were.
        assert known[question, "version_0"].precision_at_k < first[question, "version_0"].precision_at_k
        for name in ("best_sellers", "personal_frequency"):
            assert known[question, name].precision_at_k == first[question, name].precision_at_k
        said = f"{question}: judged as it is served, {words}: Precision@5 {served.precision_at_k:.4f}, without that "
        assert any(reason.startswith(f"{said}{plain.precision_at_k:.4f}") for reason in decision.reasons)
        assert f"| {question} | served | {served.precision_at_k:.4f} | " in card.decode()
    assert f"Lists are served and judged {words}." in card.decode()
    assert {entry.baseline for entry in registry.recent_retrains(settings, version)} & {PLAIN} == set()


def test_plain_lists_have_no_price(shop, honest):
    version, _ = honest
    assert PLAIN not in {each.recommender for each in registry.evaluation(shop, version)}
    url = artifacts.version_url(shop.artifacts, version, backtest=True)
    assert "Order and variety" not in artifacts.read_file(url, artifacts.CARD).decode()


def test_a_price_is_that_of_the_lists_that_would_be_served(shelved, honest):
    """The table arranges long lists anew. It must be what scoring again would give."""
    _, model = honest
    snapshot = read_snapshot(shelved, take_snapshot(shelved))
    truth = retrain.truth_for(snapshot, model.cutoff)
    table = prices(
        model,
        snapshot.interactions,
        truth,
        as_set=Style(variety=Variety(repeat=1)),
        categories={},
        depth=10,
        k=5,
    )
    by_setting = {(price.setting, price.question): price for price in table}
    for question in ("for_you", "discover"):
        made, arranged = by_setting["as set", question], by_setting["NCF_VARIETY_REPEAT=1", question]
        assert replace(made, setting="") == replace(arranged, setting="")
        assert made.kept < by_setting["none", question].kept
