from math import isnan

import numpy as np
import pandas as pd
import pytest
from ledger import interactions, january
from recount import best_sellers_shown, precisions_seen

from ncf_pipeline.evaluation.baselines import recent_best_sellers
from ncf_pipeline.evaluation.scores import agreement, mean_overlap, score, score_by_customer, truth_of
from ncf_pipeline.model.lists.fallbacks import fallback_lists

LEDGER = interactions(
    (1, "a", 1),
    (1, "b", 2),
    (2, "a", 3),
    (None, "d", 3),
    # the holdout: day 10 to 20
    (1, "a", 10),
    (1, "c", 11),
    (2, "a", 12),
    (3, "b", 13),  # a customer who is new
    (2, "e", 20),  # after the end
)
TRUTH = truth_of(LEDGER, january(10), january(20))


def customer_lists(**by_list):
    return pd.DataFrame(
        [
            ("customer", str(customer), name, codes)
            for name, lists in by_list.items()
            for customer, codes in lists.items()
        ],
        columns=["audience", "key", "list_name", "stock_codes"],
    )


def fallbacks(**by_country):
    """The best sellers of each country; `everywhere` are those of the whole shop."""
    keys = {country: "*" if country == "everywhere" else country for country in by_country}
    return pd.DataFrame(
        [("fallback", keys[country], "for_you", codes) for country, codes in by_country.items()],
        columns=["audience", "key", "list_name", "stock_codes"],
    )


NOTHING = fallbacks(everywhere=[])


def scored(k, truth=TRUTH, cohort="everyone", fallbacks=NOTHING, **recommenders):
    return {
        (entry.recommender, entry.question): entry
        for entry in score(recommenders, truth, k=k, fallbacks=fallbacks)
        if entry.cohort == cohort
    }


def test_the_truth_by_hand():
    assert TRUTH.bought["for_you"] == {"1": {"a", "c"}, "2": {"a"}, "3": {"b"}}
    assert TRUTH.bought["discover"] == {"1": {"c"}, "3": {"b"}}  # customer 2 bought nothing new
    assert TRUTH.known_customers == ("1", "2")
    assert TRUTH.catalogue == {"a", "b", "d"}


def test_a_product_that_was_bought_and_returned_is_not_new_to_the_customer():
    ledger = interactions((1, "a", 1, 2), (1, "b", 1), (1, "a", 10), (1, "c", 10))
    assert truth_of(ledger, january(10), january(20)).bought["discover"] == {"1": {"c"}}


def test_a_known_customer_without_a_list_scores_zero_and_counts():
    lists = customer_lists(for_you={1: ["a", "c"], 2: ["b", "a"]}, discover={1: ["x", "c"]})
    of = scored(2, candidate=lists)
    for_you, discover = of["candidate", "for_you"], of["candidate", "discover"]
    assert for_you.customers == 3
    assert for_you.precision_at_k == pytest.approx((2 / 2 + 1 / 2 + 0) / 3)
    assert for_you.recall_at_k == pytest.approx((1 + 1 + 0) / 3)
    assert for_you.ndcg_at_10 == pytest.approx((1 + 0.6309297535714575 + 0) / 3)
    assert for_you.full_lists == 1.0  # of the two known customers
    assert discover.customers == 2
    assert discover.precision_at_k == pytest.approx((1 / 2 + 0) / 2)
    assert discover.full_lists == 0.5


# Customer 3 of the ledger came in the holdout, from the United Kingdom, and bought b.
UNKNOWN = fallbacks(**{"everywhere": ["a", "b"], "United Kingdom": ["b", "a"]})


def test_a_newcomer_is_scored_by_the_fallback_of_their_country_with_every_recommender_alike():
    good = customer_lists(for_you={1: ["a"], 2: ["a"]}, discover={1: ["c"]})
    bad = customer_lists(for_you={1: ["x"], 2: ["x"], 3: ["x"]}, discover={1: ["x"], 3: ["x"]})  # 3 is not known
    of = scored(1, fallbacks=UNKNOWN, candidate=good, best_sellers=bad)
    assert of["candidate", "for_you"].precision_at_k == 1.0
    assert of["best_sellers", "for_you"].precision_at_k == pytest.approx(1 / 3)
    assert of["best_sellers", "for_you"].ahead == pytest.approx(2 / 3)  # nobody leads with customer 3
    assert of["best_sellers", "discover"].precision_at_k == pytest.approx(1 / 2)
    alone = scored(1, cohort="known customers", fallbacks=UNKNOWN, candidate=good, best_sellers=bad)
    assert alone["best_sellers", "for_you"].customers == 2
    assert alone["best_sellers", "for_you"].precision_at_k == 0
    assert alone["best_sellers", "for_you"].ahead == 1


def test_a_newcomer_from_a_country_without_a_fallback_or_from_none_has_that_of_everywhere():
    for country in ("Utopia", None):
        ledger = LEDGER.assign(country=LEDGER["country"].where(LEDGER["customer_id"] != "3", country))
        truth = truth_of(ledger, january(10), january(20))
        assert truth.newcomers == {"3": country or "*"}
        of = scored(1, truth=truth, fallbacks=UNKNOWN, candidate=customer_lists(for_you={}, discover={}))
        assert of["candidate", "for_you"].precision_at_k == 0  # it begins with a


def test_the_country_of_a_newcomer_is_that_of_the_first_invoice():
    ledger = interactions((1, "a", 1), (3, "b", 13), (3, "a", 12))
    ledger["country"] = ["France", "France", "Spain"]
    assert truth_of(ledger, january(10), january(20)).newcomers == {"3": "Spain"}


def test_many_newcomers_do_not_look_like_one_list_for_everyone():
    ledger = interactions(
        (1, "a", 1), (2, "b", 1), (1, "a", 10), (2, "b", 10), *((customer, "a", 11) for customer in range(3, 50))
    )
    truth = truth_of(ledger, january(10), january(20))
    lists = customer_lists(for_you={1: ["a"], 2: ["b"]}, discover={})
    for_you = scored(1, truth=truth, fallbacks=UNKNOWN, candidate=lists)["candidate", "for_you"]
    assert (for_you.overlap, for_you.catalog_coverage, for_you.full_lists) == (0, 1, 1)
    assert for_you.customers == 49


@pytest.fixture(scope="module")
def random_shop():
    """Two hundred lines of customers who come and go, of three countries and none, guests and returns among them."""
    random = np.random.default_rng(4)
    lines = []
    for number in range(200):
        customer, day = int(random.integers(1, 40)), int(random.integers(1, 31))
        if customer >= 20:
            day = max(day, int(random.integers(10, 31)))  # half of them come late
        returned = day + 1 if random.random() < 0.1 else None
        code = "abcdefghij"[int(random.zipf(1.5)) % 10]
        lines.append((None if random.random() < 0.1 else customer, code, day, returned, f"i{number // 2:03}"))
    ledger = interactions(*lines)
    ledger["country"] = random.choice(np.array([None, "France", "Spain", "Utopia"]), len(ledger))
    # Utopia's first customers come in the holdout.
    early = (ledger["country"] == "Utopia") & (ledger["purchased_at"] < january(20))
    return ledger.assign(country=ledger["country"].mask(early, "Spain"))


@pytest.mark.parametrize("k", [1, 3])
def test_what_shoppers_saw_is_as_counted_by_hand(random_shop, k):
    start, end = january(20), january(30)
    truth = truth_of(random_shop, start, end)
    lists = recent_best_sellers(random_shop, start, 10, truth.known_customers)
    made = fallback_lists(random_shop, start, 10)
    for question in ("for_you", "discover"):
        own = {row.key: row.stock_codes for row in lists[lists["list_name"] == question].itertuples(index=False)}
        seen = precisions_seen(random_shop, start, end, own, k, new_only=question == "discover")
        assert {known for _, known, _ in seen} == {True, False}
        for cohort in ("everyone", "known customers"):
            of = scored(k, truth=truth, cohort=cohort, fallbacks=made, candidate=lists)["candidate", question]
            counted = [precision for _, known, precision in seen if known or cohort == "everyone"]
            assert of.customers == len(counted)
            assert of.precision_at_k == pytest.approx(np.mean(counted))
    assert {"Spain", "Utopia", "*"} <= set(truth.newcomers.values())
    assert len({tuple(best_sellers_shown(random_shop, start, country)) for country in ("France", "Spain", "*")}) == 3


def test_what_is_bought_in_the_holdout_does_not_change_the_fallback(random_shop):
    start, end = january(20), january(30)
    later = random_shop["purchased_at"] >= start
    flood = [random_shop[later].assign(stock_code="j", invoice_no=f"f{number}") for number in range(9)]
    flooded = pd.concat([random_shop, *flood])
    for shop in (random_shop, flooded):
        pd.testing.assert_frame_equal(fallback_lists(shop, start, 10), fallback_lists(random_shop[~later], start, 10))
    assert truth_of(flooded, start, end).newcomers == truth_of(random_shop, start, end).newcomers


def test_map_is_the_mean_precision_at_the_places_of_the_hits():
    lists = customer_lists(for_you={1: ["a", "x", "c"], 2: ["x", "a"]}, discover={})
    for_you = scored(2, candidate=lists)["candidate", "for_you"]
    assert for_you.map_at_10 == pytest.approx(((1 / 1 + 2 / 3) / 2 + 1 / 2 + 0) / 3)


def test_revenue_is_the_share_of_spending_on_recommended_products():
    ledger = LEDGER.assign(quantity=[1, 1, 1, 1, 10, 2, 3, 1, 1], unit_price=[1, 1, 1, 1, 2.0, 5.0, 1.0, 7.0, 1])
    truth = truth_of(ledger, january(10), january(20))
    assert truth.spent == {"1": {"a": 20.0, "c": 10.0}, "2": {"a": 3.0}, "3": {"b": 7.0}}
    lists = customer_lists(for_you={1: ["a", "x", "c"], 2: ["a"]}, discover={1: ["c"]})
    of = scored(2, truth=truth, candidate=lists)
    assert of["candidate", "for_you"].revenue_at_k == pytest.approx((20 + 3) / 40)
    # New to their customers were c and b, for 10 and 7.
    assert of["candidate", "discover"].revenue_at_k == pytest.approx(10 / 17)


def test_novelty_is_in_bits_and_higher_if_fewer_customers_had_bought_the_product():
    # Of two customers, two had bought a, one b, and only a guest d.
    assert TRUTH.novelty == pytest.approx({"a": 0.0, "b": -np.log2(2 / 3), "d": -np.log2(1 / 3)})
    lists = customer_lists(for_you={1: ["a", "d", "b"], 2: ["b", "unknown"]}, discover={})
    assert scored(2, candidate=lists)["candidate", "for_you"].novelty == pytest.approx(
        (0 - np.log2(1 / 3) - np.log2(2 / 3)) / 3
    )


def test_leads_of_the_candidate_are_paired_by_customer():
    better = customer_lists(for_you={1: ["a", "c"], 2: ["a", "b"]}, discover={})
    worse = customer_lists(for_you={1: ["a", "x"], 2: ["x", "y"]}, discover={})
    of = scored(2, candidate=better, best_sellers=worse)
    assert of["candidate", "for_you"].ahead is None
    # 1 - 1/2, 1/2 - 0, and 0 - 0 for the customer to whom neither recommends anything
    assert of["best_sellers", "for_you"].ahead == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert 0 <= of["best_sellers", "for_you"].ahead_low <= of["best_sellers", "for_you"].ahead
    assert of["best_sellers", "for_you"].ahead_high == pytest.approx(0.5)


def test_coverage_counts_only_the_first_k_and_only_the_catalogue():
    lists = customer_lists(for_you={1: ["a", "x", "b"], 2: ["a", "d", "b"]}, discover={})
    assert scored(2, candidate=lists)["candidate", "for_you"].catalog_coverage == pytest.approx(
        2 / 3
    )  # a, d of a, b, d


def test_scores_by_customer_are_in_order_of_customer_id():
    """Numbers come in the order of numbers: intervals are drawn from the scores in this order."""
    ids = ["ann@example.com", "10", "9", "C-1001", "017850", "17850"]
    ledger = interactions(*((customer, "a", 11) for customer in ids))
    lists = customer_lists(for_you={"10": ["a"]}, discover={})
    scores = score_by_customer(lists, truth_of(ledger, january(10), january(20)), question="for_you", k=1)
    assert scores["precision_at_k"].to_dict() == {
        "9": 0,
        "10": 1,
        "17850": 0,
        "017850": 0,
        "C-1001": 0,
        "ann@example.com": 0,
    }
    assert list(scores.index) == ["9", "10", "17850", "017850", "C-1001", "ann@example.com"]


@pytest.mark.parametrize(
    ("lists", "k", "expected"),
    [
        ([["a", "b"], ["a", "b"], ["a", "b"]], 2, 1.0),  # one list for everyone
        ([["a", "b"], ["c", "d"]], 2, 0.0),
        ([["a", "b"], ["b", "c"], ["c", "d"]], 2, (1 + 0 + 1) / 2 / 3),
        ([["a", "x"], ["a", "y"]], 1, 1.0),  # only the first k
        ([["a"]], 1, 0.0),
    ],
)
def test_overlap_by_hand(lists, k, expected):
    assert mean_overlap(lists, k) == pytest.approx(expected)


def test_cohorts_are_by_invoices_before_the_holdout_and_by_country():
    assert TRUTH.cohorts == {
        "everyone": {"1", "2", "3"},
        "known customers": {"1", "2"},
        "1 invoice": {"2"},
        "2-4 invoices": {"1"},
        "5+ invoices": frozenset(),
        "United Kingdom": {"1", "2", "3"},
        "outside United Kingdom": frozenset(),
    }
    lists = customer_lists(for_you={1: ["a"], 2: ["x"]}, discover={})
    assert scored(1, cohort="2-4 invoices", candidate=lists)["candidate", "for_you"].precision_at_k == 1.0


def test_an_empty_holdout_has_no_means():
    truth = truth_of(LEDGER, january(25), january(30))
    nothing = customer_lists(for_you={}, discover={})
    for_you = scored(5, truth=truth, candidate=nothing)["candidate", "for_you"]
    assert for_you.customers == 0
    assert isnan(for_you.precision_at_k)


def test_agreement_is_the_share_of_the_first_k_over_common_customers():
    one = customer_lists(for_you={1: ["a", "b", "c"], 2: ["a", "b"], 3: ["z"]})
    other = customer_lists(for_you={1: ["b", "a", "x"], 2: ["c", "b"]})
    assert agreement(one, other, question="for_you", k=2) == pytest.approx((2 + 1) / (2 * 2))
    assert isnan(agreement(one, customer_lists(for_you={9: ["a"]}), question="for_you", k=2))
