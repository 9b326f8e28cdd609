"""The order by expected revenue, by hand and in the lists of a shop."""

import numpy as np
import pandas as pd
import pytest
from shop_with_tastes import CUTOFF, frame

from ncf_pipeline.columns import BUY_AGAIN, DISCOVER, FOR_YOU, Interactions, Lists
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.value import ExpectedSpend, log_chance
from ncf_pipeline.model.recipe import Recipe


def spend_of(rows, customer, product):
    state = ShopState(encode(rows, CUTOFF), microseconds(CUTOFF), Recipe())
    who = state.events.customers.tolist().index(customer)
    what = state.events.products.tolist().index(product)
    return float(np.exp(ExpectedSpend(state).log_of(np.array([who]), np.array([what])))[0])


def priced(lines):
    """Lines of customer, product, invoice, day, pieces, price."""
    rows = frame([line[:4] for line in lines])
    rows[Interactions.QUANTITY] = [float(line[4]) for line in lines]
    rows[Interactions.UNIT_PRICE] = [float(line[5]) for line in lines]
    return rows


def test_equal_purchases_cost_what_they_cost():
    rows = priced([(1, "A", "1", 10, 4, 2.5), (2, "A", "2", 20, 4, 2.5), (2, "B", "2", 20, 4, 1)])
    assert spend_of(rows, "1", "A") == pytest.approx(10)
    assert spend_of(rows, "1", "B") == pytest.approx(4)


def test_the_newest_price_counts():
    rows = priced([(1, "A", "1", 10, 1, 2), (2, "A", "2", 100, 1, 3)])
    assert spend_of(rows, "1", "A") == pytest.approx(3)


def test_a_returned_purchase_counts_for_nothing():
    rows = priced([(1, "A", "1", 10, 4, 2), (2, "A", "2", 100, 4, 3), (2, "B", "3", 100, 4, 1)])
    rows.loc[1, Interactions.RETURNED_AT] = CUTOFF - pd.Timedelta(days=1)
    assert spend_of(rows, "1", "A") == pytest.approx(8)


def test_by_hand_each_mean_is_shrunk():
    # Logarithms of pieces: 0 for A by 1, and ln 16 for A by 2; usual is ln 4.
    rows = priced([(1, "A", "1", 10, 1, 1), (2, "A", "2", 20, 16, 1)])
    # A: ln 4 + 0 of two. Customer 1: (0 - ln 4) / (1 + 5). The pair: what is left of -ln 4, over (1 + 2).
    of_customer = -np.log(4) / 6
    of_pair = (-np.log(4) - of_customer) / 3
    assert spend_of(rows, "1", "A") == pytest.approx(np.exp(np.log(4) + of_customer + of_pair))


def test_a_customer_who_buys_much_spends_more_on_what_is_new_too():
    lines = [(1, f"P{day}", str(day), day, 48, 1) for day in range(10)]
    lines += [(2, f"P{day}", f"b{day}", day, 1, 1) for day in range(10)]
    lines += [(3, "NEW", "c", 20, 6, 1)]
    assert spend_of(priced(lines), "1", "NEW") > 3 * spend_of(priced(lines), "2", "NEW")


def test_one_giant_order_does_not_decide_what_is_usual():
    lines = [(who, "A", str(who), 10, 12, 1) for who in range(1, 40)]
    usual = spend_of(priced(lines), "1", "A")
    giant = spend_of(priced([*lines, (99, "A", "g", 11, 80995, 1)]), "1", "A")
    assert giant < 1.5 * usual


def test_chances_keep_the_order_of_scores():
    scores = np.array([3.0, -1.0, 0.5])
    assert log_chance(scores, is_certain=True).tolist() == scores.tolist()
    ranks = log_chance(-np.arange(5.0), is_certain=False)
    assert (np.diff(ranks) < 0).all()
    assert ranks[0] == 0


def first_of(maker, name):
    lists = pd.concat(maker.customers(10))
    chosen = lists[lists[Lists.LIST_NAME] == name]
    return dict(zip(chosen[Lists.KEY], chosen[Lists.STOCK_CODES], strict=True))


@pytest.fixture(scope="module")
def dear(shop):
    """The shop, in which every third product costs a hundred times as much."""
    costs = shop[Interactions.STOCK_CODE].str[1:].astype(int) % 3 == 0
    return shop.assign(**{Interactions.UNIT_PRICE: np.where(costs, 100.0, 1.0)})


def test_the_more_the_spend_counts_the_dearer_the_lists(model, dear):
    plain = ListMaker(model, dear, CUTOFF)
    shares = [dear_share(first_of(plain.in_order("value", weight), FOR_YOU)) for weight in (0, 0.25, 0.5, 1)]
    assert shares == sorted(shares)
    assert shares[3] > shares[0] + 0.2
    assert first_of(plain.in_order("value", 0), FOR_YOU) == first_of(plain, FOR_YOU)


def dear_share(lists):
    return np.mean([int(code[1:]) % 3 == 0 for codes in lists.values() for code in codes[:5]])


@pytest.mark.parametrize("name", [FOR_YOU, DISCOVER])
def test_dear_products_come_first_and_lists_stay_full(recommender, dear, name):
    plain = ListMaker(recommender, dear, CUTOFF)
    by_value = first_of(plain.in_order("value"), name)
    lists = first_of(plain, name)
    assert dear_share(by_value) > dear_share(lists) + 0.2
    assert {key: len(codes) for key, codes in by_value.items()} == {key: len(codes) for key, codes in lists.items()}
    assert by_value == first_of(ListMaker(recommender, dear, CUTOFF, style=Style("value")), name)


def test_buy_again_keeps_its_order(recommender, dear):
    maker = ListMaker(recommender, dear, CUTOFF)
    assert first_of(maker.in_order("value"), BUY_AGAIN) == first_of(maker, BUY_AGAIN)
    assert first_of(maker.in_order("value").in_order("precision"), FOR_YOU) == first_of(maker, FOR_YOU)


def test_where_everything_costs_the_same_nothing_changes(recommender, shop):
    same = shop.assign(**{Interactions.UNIT_PRICE: 2.0, Interactions.QUANTITY: 3.0})
    maker = ListMaker(recommender, same, CUTOFF)
    assert first_of(maker.in_order("value"), FOR_YOU) == first_of(maker, FOR_YOU)
