"""What the peers recommend in shops with known answers."""

import sys
import warnings
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import torch
from ledger import interactions, january

from ncf_pipeline.errors import SettingsError
from ncf_pipeline.evaluation.scores import mean_overlap
from ncf_pipeline.extras import missing
from ncf_pipeline.model.features import copurchase
from ncf_pipeline.model.features.queries import instants, queries_at
from ncf_pipeline.model.peers import PEERS
from ncf_pipeline.model.peers.neighbours import ease, item_knn
from ncf_pipeline.model.peers.neural import neumf, plain_ncf
from ncf_pipeline.model.peers.next_basket import decayed_frequency, tifu_knn, up_cf
from ncf_pipeline.model.peers.ranking import state_at
from ncf_pipeline.model.peers.sequence import SASRec, _Histories, sasrec
from ncf_pipeline.model.recipe import Recipe

pytestmark = pytest.mark.trains

# Two tastes: three customers buy a and b, three buy c and d, and one of each taste buys only the first.
TASTES = interactions(
    *((customer, code, 1) for customer in (1, 2, 3) for code in ("a", "b")),
    *((customer, code, 2) for customer in (4, 5, 6) for code in ("c", "d")),
    (7, "a", 3),
    (8, "c", 3),
    (None, "e", 3),
)
AS_OF = january(10)

# Of four buyers of x, two bought y, as twelve others did, and one bought z, as two others did.
THREE = interactions(
    *((customer, "x", 1) for customer in (1, 2, 3, 9)),
    *((customer, "y", 2) for customer in (1, 2, *range(20, 32))),
    *((customer, "z", 2) for customer in (3, 10, 11)),
)


def lists_of(made, name):
    chosen = made[made["list_name"] == name]
    return dict(zip(chosen["key"], chosen["stock_codes"], strict=True))


@pytest.fixture(scope="module")
def shop():
    """Customers of two tastes who come every week and buy three of the ten products of their taste."""
    random = np.random.default_rng(0)
    return interactions(
        *(
            (100 + customer, f"P{code + 10 * (customer % 2):02d}", 1 + 7 * week, None, f"{customer}-{week}")
            for customer in range(40)
            for week in range(16)
            for code in random.choice(10, 3, replace=False)
        )
    )


@pytest.fixture(autouse=True)
def many_epochs(monkeypatch):
    """So small a shop needs more epochs."""
    monkeypatch.setattr("ncf_pipeline.model.peers.neural.EPOCHS", 60)
    monkeypatch.setattr("ncf_pipeline.model.peers.neural.BATCH", 64)
    monkeypatch.setattr("ncf_pipeline.model.peers.sequence.BATCH", 4)
    monkeypatch.setattr("ncf_pipeline.model.peers.sequence.LEARNING_RATE", 0.01)


@pytest.fixture(scope="module")
def habits():
    """Forty customers come every week and buy a product of their own, twice in three, and two of thirty others."""
    random = np.random.default_rng(1)
    return interactions(
        *(
            (100 + customer, code, 1 + 7 * week, None, f"{customer}-{week}")
            for customer in range(40)
            for week in range(16)
            for code in sorted(
                {f"P{number:02d}" for number in random.choice(30, 2)}
                | ({f"HABIT{customer % 20:02d}"} if random.random() < 2 / 3 else set())
            )
        )
    )


@pytest.mark.parametrize("peer", [item_knn, ease, up_cf])
def test_neighbours_know_what_goes_together(peer):
    made = peer(TASTES, AS_OF, 2, ["7", "8", "1"])
    assert lists_of(made, "discover")["7"][0] == "b"
    assert lists_of(made, "discover")["8"][0] == "d"
    # Customer 1 already has both products of the taste.
    assert not {"a", "b"} & set(lists_of(made, "discover")["1"])
    assert set(lists_of(made, "for_you")["1"]) == {"a", "b"}


def test_item_knn_ranks_by_cosine():
    # x and y: 2/sqrt(4 * 14) = 0.27; x and z: 1/sqrt(4 * 3) = 0.29.
    assert lists_of(item_knn(THREE, AS_OF, 2, ["9"]), "discover")["9"] == ["z", "y"]


def test_ease_trusts_pairs_with_many_buyers():
    # Weights of x for y and z by the closed form, ridge 300: 2 * 303 / (304 * 303 - 1²) and 1 * 314 / (304 * 314 - 2²).
    assert lists_of(ease(THREE, AS_OF, 2, ["9"]), "discover")["9"] == ["y", "z"]


def test_ease_of_a_large_catalogue_only_knows_products_with_most_buyers(monkeypatch):
    fitted, fit = [], copurchase.ease

    def watched(bought, ridge):
        fitted.append(bought.shape)
        return fit(bought, ridge)

    monkeypatch.setattr(copurchase, "ease", watched)
    monkeypatch.setattr("ncf_pipeline.model.peers.ranking.Recipe", lambda: Recipe(max_dense_products=2))
    for_you = lists_of(ease(THREE, AS_OF, 3, ["1", "10"]), "for_you")
    assert fitted == [(18, 2)]  # all customers; y and x, but not z
    assert for_you["1"] == ["y", "x", "z"]  # 2/304 for y, 2/314 for x
    assert for_you["10"] == ["y", "x", "z"]  # their product is not among these: best sellers


def test_a_conversion_in_the_library_is_no_warning_to_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        item_knn(TASTES, AS_OF, 2, ["1"])


def test_equal_scores_are_in_order_of_recent_sales():
    ledger = interactions((1, "a", 1), (2, "z", 2), (3, "z", 2), (4, "m", 2), (5, "m", 2), (6, "m", 2), (7, "k", 2))
    assert lists_of(item_knn(ledger, AS_OF, 4, ["1"]), "discover")["1"] == ["m", "z", "k"]


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_ignores_the_future_and_makes_lists_for_every_customer(shop, name):
    as_of = january(99)
    future = interactions(*((customer, "PLANTED", 100) for customer in range(100, 140)), (999, "PLANTED", 101))
    both = pd.concat([shop, future], ignore_index=True)
    customers = ["100", "101", "999", "139"]
    made = PEERS[name](both, as_of, 3, customers)
    assert not any("PLANTED" in codes for codes in made["stock_codes"])
    pd.testing.assert_frame_equal(made, PEERS[name](shop, as_of, 3, customers))
    for_you, discover = lists_of(made, "for_you"), lists_of(made, "discover")
    assert for_you.keys() == discover.keys() == set(customers)
    assert all(len(set(codes)) == 3 for codes in for_you.values())
    bought = shop[shop["purchased_at"] < as_of].groupby("customer_id")["stock_code"].agg(set)
    assert all(not set(discover[customer]) & bought[customer] for customer in ("100", "101", "139"))
    # An unknown customer gets best sellers.
    assert for_you["999"] == discover["999"]


@pytest.mark.parametrize("name", [name for name in PEERS if name not in ("plain_ncf", "decayed_frequency")])
def test_a_peer_tells_two_tastes_apart(shop, name):
    for_you = lists_of(PEERS[name](shop, january(113), 5, [str(number) for number in range(100, 140)]), "for_you")
    own = np.mean(
        [sum((int(code[1:]) >= 10) == int(customer) % 2 for code in for_you[customer]) / 5 for customer in for_you]
    )
    assert own > 0.9


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("decayed_frequency", {}),
        ("tifu_knn", {"own": 0.7}),  # by default, what the customer bought counts less than what others did
        ("up_cf", {}),
        ("boosted_classifier", {}),
        ("lambdarank", {}),
    ],
)
def test_a_peer_finds_a_planted_habit(habits, name, settings):
    customers = [str(number) for number in range(100, 140)]
    for_you = lists_of(PEERS[name](habits, january(113), 1, customers, **settings), "for_you")
    found = [codes == [f"HABIT{(int(customer) - 100) % 20:02d}"] for customer, codes in for_you.items()]
    assert np.mean(found) > 0.9


def test_a_sequence_says_what_comes_next_and_it_may_have_been_bought_before():
    """Everyone buys a, b, c, a, b, c, ... on days of their own: after a comes b, for whoever stopped there."""
    ledger = interactions(
        *(
            (customer, "abc"[(customer + step) % 3], 1 + step, None, f"{customer}-{step}")
            for customer in range(1, 31)
            for step in range(9)
        ),
    )
    made = sasrec(ledger, AS_OF, 1, ["1", "2", "3"], epochs=60, dropout=0.0)
    # Customer 1 ends with (1 + 8) % 3 = a, 2 with b, 3 with c.
    assert lists_of(made, "for_you") == {"1": ["b"], "2": ["c"], "3": ["a"]}


def test_a_sequence_has_the_last_purchases_alone_and_no_order_within_an_invoice():
    ledger = interactions((1, "a", 1), (1, "b", 2, None, "i2"), (1, "c", 2, None, "i2"), (1, "d", 3), (2, "e", 1))
    state = state_at(ledger, AS_OF)
    histories = _Histories(state, 3, np.random.default_rng(0))
    seen = set()
    for _ in range(20):
        histories.shuffle()
        bought, sizes = histories.of(np.array([0, 1]))
        assert sizes.tolist() == [3, 1]
        seen.add("".join(state.events.products[product] for product in bought[0]))
        assert state.events.products[bought[1, 0]] == "e"
    assert seen == {"bcd", "cbd"}
    assert histories.of(np.array([0]), extra=1)[1].tolist() == [4]
    assert histories.with_two.tolist() == [0]


def test_what_pads_a_sequence_changes_nothing():
    network = SASRec(5, 4, 0.0).eval()
    alone = network(torch.tensor([[1, 2]]), torch.tensor([2]))
    padded = network(torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1]]), torch.tensor([2, 4]))
    torch.testing.assert_close(padded[0, :2], alone[0])


def test_frequency_decays_by_its_half_life():
    # At day 10: a counts 2 * 2^(-8 / h), b counts 2^(-1 / h): a leads if h > 7.
    ledger = interactions((1, "a", 2), (1, "a", 2), (1, "b", 9), (2, "c", 1))
    for half_life, first in ((6, "b"), (8, "a")):
        made = decayed_frequency(ledger, AS_OF, 2, ["1"], half_life_days=half_life)
        assert lists_of(made, "for_you")["1"][0] == first


def test_tifu_knn_divides_invoices_into_groups_from_the_newest_on():
    # Three invoices in groups of two, weights 0.9 and 0.7: c 1/2/2 = 0.25, b 0.9/2/2 = 0.225, a 0.7/1/2 = 0.35.
    ledger = interactions((1, "a", 1), (1, "b", 2), (1, "c", 3), (2, "d", 1))
    made = tifu_knn(ledger, AS_OF, 3, ["1"], groups=2, within=0.9, between=0.7, neighbours=0)
    assert lists_of(made, "for_you")["1"] == ["a", "c", "b"]


def test_tifu_knn_learns_from_the_nearest_customer_alone():
    ledger = interactions((1, "a", 1), (2, "a", 1), (2, "b", 1, None, "i1"), (3, "c", 1), (3, "d", 1), (4, "d", 1))
    made = tifu_knn(ledger, AS_OF, 1, ["1", "4"], discover_neighbours=1)
    assert lists_of(made, "discover") == {"1": ["b"], "4": ["c"]}


def test_up_cf_counts_the_last_invoices_of_similar_customers():
    # Customer 2 is as near as 3, but of the last invoice only c counts; then of both.
    ledger = interactions((1, "a", 1), (2, "a", 1), (2, "b", 2), (2, "c", 3), (3, "z", 1))
    last, both = (lists_of(up_cf(ledger, AS_OF, 2, ["1"], recent=r), "discover")["1"] for r in (1, 2))
    assert last[0] == "c"
    assert set(both) == {"b", "c"}


def test_up_cf_prefers_what_the_customer_bought_lately():
    ledger = interactions((1, "a", 1), (1, "b", 2), (2, "a", 1), (3, "a", 1))
    assert lists_of(up_cf(ledger, AS_OF, 1, ["1"], recent=1), "for_you")["1"] == ["b"]


@pytest.mark.parametrize("name", ["lambdarank", "boosted_classifier"])
def test_trees_learn_from_all_candidates(shop, name, monkeypatch):
    """A sample of negatives without a correction ranks new products too high."""
    lightgbm, seen = pytest.importorskip("lightgbm"), []
    dataset = lightgbm.Dataset

    def watched(features, bought, **others):
        seen.append((len(features), int(others["group"].sum())))
        return dataset(features, bought, **others)

    monkeypatch.setattr(lightgbm, "Dataset", watched)
    PEERS[name](shop, january(113), 3, ["100"])
    state = state_at(shop, january(113))
    of_queries = [
        np.diff(chunk.contexts.start)[chunk.answered()].sum()
        for at, days in instants(state.events, state.at, state.recipe)
        for chunk in queries_at(state.events, at, days, state.recipe)
    ]
    assert seen[0] == (sum(of_queries),) * 2


def test_without_negatives_every_customer_gets_the_same_list(shop):
    customers = [str(number) for number in range(100, 140)]
    same, different = (
        mean_overlap(list(lists_of(peer(shop, january(113), 5, customers), "for_you").values()), 5)
        for peer in (plain_ncf, neumf)
    )
    assert same > 0.9
    assert different < 0.6


def test_a_missing_library_is_an_error_of_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.als", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        PEERS["ials"](TASTES, AS_OF, 2, ["1"])
    line = missing(raised.value.name)  # what the command prints
    assert "[peers]" in line
    assert "--no-peers" in line
    assert "\n" not in line


def test_a_missing_system_library_is_an_error_of_one_line(monkeypatch):
    def refuse(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr("ncf_pipeline.model.libraries.importlib.import_module", refuse)
    with pytest.raises(SettingsError, match=r"libgomp.so.1: cannot open"):
        PEERS["ials"](TASTES, AS_OF, 2, ["1"])


@pytest.mark.parametrize("name", ["lambdarank", "boosted_classifier"])
def test_a_shop_too_young_for_a_ranker_gets_best_sellers(name):
    made = PEERS[name](TASTES, AS_OF + timedelta(days=1), 2, ["1"])
    assert lists_of(made, "for_you")["1"] == ["a", "c"]
