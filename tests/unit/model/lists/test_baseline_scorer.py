"""Version 0: lists by counts alone. What is the same as with a network is tested in `test_assemble.py` and others."""

import json

import numpy as np
import pytest
from recount import Facts, check_every_reason, with_reasons
from shop_with_tastes import CUTOFF, START, frame, make_shop

from ncf_pipeline.columns import Lists
from ncf_pipeline.evaluation.baselines import personal_frequency, recent_best_sellers
from ncf_pipeline.evaluation.scores import VERSION_0, score, truth_of
from ncf_pipeline.model.lists.assemble import ListMaker, version_0_lists
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.recipe import Recipe

from .test_assemble import of


def lists_of(rows, customer, top_n=10):
    maker = ListMaker(None, frame(rows), CUTOFF)
    (lists,) = maker.customers(top_n, chosen=[str(customer)])
    return lists.assign(**{Lists.REASONS: maker.reasons(lists)})


def test_own_products_come_by_decayed_count_then_recent_best_sellers_then_stock_code():
    rows = [
        (1, "OLD", "1", 0),  # 150 days before the cutoff: 1 + 2^(-150/90) = 1.31
        (1, "LATE", "2", 140),  # 1 + 2^(-10/90) = 1.93, and bought within 28 days: x sqrt(1 + 1) = 2.72
        (1, "TIE1", "3", 60),  # 1 + 2^(-90/90) = 1.5, as TIE2
        (1, "TIE2", "3", 60),
        (1, "TWICE", "3", 60),  # 1.5 + 1.93
        (1, "TWICE", "2", 140),
    ]
    assert of(lists_of(rows, 1), "1", "buy_again") == ["TWICE", "LATE", "TIE1", "TIE2", "OLD"]
    # Two others bought TIE2 lately: 1.5 x sqrt(1 + 2) = 2.60.
    lately = [(who, "TIE2", f"b{who}", 149) for who in (7, 8)]
    assert of(lists_of([*rows, *lately], 1), "1", "buy_again") == ["TWICE", "LATE", "TIE2", "TIE1", "OLD"]


def test_discover_is_what_goes_with_theirs_more_so_if_it_is_bought_lately():
    both = [
        line
        for other, first in (("B", 10), ("C", 20))
        for who in range(first, first + 5)
        for line in ((who, "A", f"a{who}", 1), (who, other, f"b{who}", 2))
    ]
    rest = [(who, f"Z{product}", f"z{who}", 90 + product) for who in range(40, 60) for product in range(25)]
    rows = [*both, *rest, (1, "A", "X", 50)]
    lists = lists_of(rows, 1, top_n=3)
    assert of(lists, "1", "discover")[:2] == ["B", "C"]  # equal, so by stock code
    assert of(lists, "1", "for_you")[:3] == ["A", "B", "C"]  # what is theirs, then what goes with it
    assert json.loads(lists[Lists.REASONS].iloc[1])[:2] == [["popular_with", "A"], ["popular_with", "A"]]
    late = [(70, "C", "late", 149)]
    assert of(lists_of([*rows, *late], 1, top_n=3), "1", "discover")[:2] == ["C", "B"]


def test_where_customers_prove_nothing_single_invoices_do_guests_included():
    baskets = ["AB", "AB", "AB", "S", "S", "S", "S", "SC", "SC"]
    guests = [(None, code, f"G{number}", 100 + number) for number, basket in enumerate(baskets) for code in basket]
    lists = lists_of([*guests, (1, "A", "X", 50)], 1, top_n=3)
    assert of(lists, "1", "discover") == ["B", "S", "C"]
    assert json.loads(lists[Lists.REASONS].iloc[1])[0] == ["goes_with", "A"]


def test_a_shop_of_ten_invoices_gets_best_sellers():
    rows = [(who, code, f"i{who}", 100 + who) for who in range(1, 11) for code in ("A", f"P{who}")]
    lists = lists_of(rows, 3, top_n=4)
    assert of(lists, "3", "for_you") == ["A", "P3", "P1", "P10"]
    assert of(lists, "3", "discover") == ["P1", "P10", "P2", "P4"]
    assert of(lists, "3", "buy_again") == ["A", "P3"]
    check_every_reason(lists, Facts(frame(rows), CUTOFF))


@pytest.mark.parametrize("rows", [[], [(None, "A", "1", 3)], [(1, "A", "1", 3, 4)]], ids=["none", "guests", "returned"])
def test_without_customers_there_are_no_lists_of_customers(rows):
    maker = ListMaker(None, frame(rows), CUTOFF)
    assert list(maker.customers(5)) == []
    assert len(maker.products(5)) == 2 * len({code for _, code, *rest in rows if len(rest) < 3})


def test_similar_products_come_from_baskets(shop):
    products = ListMaker(None, shop, CUTOFF).products(5).pivot(index=Lists.KEY, columns=Lists.LIST_NAME)
    assert (products[Lists.STOCK_CODES, "similar"] == products[Lists.STOCK_CODES, "bought_together"]).all()
    assert products[Lists.STOCK_CODES, "similar"].map(len).mean() > 1


def test_the_memory_bound_changes_no_list(shop, monkeypatch):
    lists = version_0_lists(shop, CUTOFF, 10, [str(number) for number in range(100, 160)])
    monkeypatch.setattr(Recipe, "rows_at_once", lambda recipe, columns: 3)
    assert version_0_lists(shop, CUTOFF, 10, [str(number) for number in range(100, 160)]).equals(lists)


def test_later_purchases_change_no_list(shop):
    known = shop[shop["purchased_at"] < CUTOFF]
    assert version_0_lists(shop, CUTOFF, 10, ["100", "101"]).equals(version_0_lists(known, CUTOFF, 10, ["100", "101"]))


def test_a_customer_unknown_at_the_instant_gets_recent_best_sellers(shop):
    lists = version_0_lists(shop, CUTOFF, 5, ["9999", "100"])
    assert of(lists, "9999", "for_you") == of(recent_best_sellers(shop, CUTOFF, 5, ["9999"]), "9999", "for_you")
    assert of(version_0_lists(shop, START, 5, ["100"]), "100", "for_you") == []


def test_no_customer_and_no_certainty(shop):
    maker = ListMaker(None, shop, CUTOFF)
    assert list(maker.customers(5, chosen=[])) == []
    assert maker.certainty is None


def test_it_is_as_good_as_the_baselines_that_it_is_made_of():
    # In this shop, what sells lately says nothing, so `for_you` can only be as good as personal frequency.
    shop = make_shop(customers=120, products=80)
    truth = truth_of(shop, CUTOFF, CUTOFF.replace(month=CUTOFF.month + 1))
    made = {
        name: recommend(shop, CUTOFF, 10, truth.known_customers)
        for name, recommend in (
            (VERSION_0, version_0_lists),
            ("personal_frequency", personal_frequency),
            ("recent_best_sellers", recent_best_sellers),
        )
    }
    scores = {
        (each.question, each.recommender): each.precision_at_k
        for each in score(made, truth, k=5, fallbacks=fallback_lists(shop, CUTOFF, 10))
        if each.cohort == "everyone"
    }
    assert scores["for_you", VERSION_0] > 0.98 * scores["for_you", "personal_frequency"]
    assert scores["discover", VERSION_0] > 1.2 * scores["discover", "recent_best_sellers"]


def test_reasons_of_version_0_never_speak_of_a_model(shop):
    counts = check_every_reason(with_reasons(ListMaker(None, shop, CUTOFF)), Facts(shop, CUTOFF))
    assert np.isin(["goes_with", "popular_with"], [code for _, code in counts]).all()
    assert "taste" not in {code for _, code in counts}
