"""What customers looked at: features and candidates, on a shop that a reader can check."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from lookers import looks_frame, make_looks
from shop_with_tastes import CUTOFF, START, frame, make_shop

from ncf_pipeline.columns import CART, VIEW, WISH
from ncf_pipeline.model.features.contexts import ContextMaker
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.looks import LOOKS, looks_for
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.features.tables import FEATURES, feature_names
from ncf_pipeline.model.recipe import Recipe

HALF_LIFE = Recipe().look_half_life_days
RECIPE = Recipe(popular_candidates=1, taste_candidates=0, follower_windows=0).with_looks()
AT = START + timedelta(days=100)
ROWS = [("1", "A", "I1", 10), ("1", "B", "I2", 95), ("2", "C", "I3", 20), ("2", "A", "I4", 30), ("2", "A", "I5", 99)]
ROWS += [("3", "D", "I6", 40), ("3", "E", "I7", 99)]


def ago(days):
    return AT - timedelta(days=days)


def state_of(looks, rows=ROWS, recipe=RECIPE, at=AT):
    return ShopState(encode(frame(rows), at, looks_frame(looks)), microseconds(at), recipe)


def features_of(state, customer, product):
    (who,), what = state.events.index_of([customer]), state.events.products.tolist().index(product)
    columns = state.interest.columns(np.array([who]), np.array([what]), state.at)
    return {name: float(values[0]) for name, values in columns}


def candidates_of(state, customer, most=9):
    products, start = state.interest.candidates(state.events.index_of([customer]), most)
    assert start.tolist() == [0, len(products)]
    return [state.events.products[product] for product in products]


def test_a_look_counts_half_after_its_half_life():
    state = state_of([("1", "C", VIEW, ago(HALF_LIFE)), ("1", "C", VIEW, ago(2 * HALF_LIFE)), ("1", "D", CART, ago(1))])
    of_c = features_of(state, "1", "C")
    assert of_c["viewed"] == pytest.approx(np.log1p(0.75))
    assert of_c["open_looks"] == pytest.approx(np.log1p(0.75))
    assert of_c["days_since_look"] == pytest.approx(np.log1p(HALF_LIFE))
    cart = 2 ** (-1 / HALF_LIFE)
    assert of_c["share_of_looks"] == pytest.approx(0.75 / (0.75 + cart))
    assert of_c["customer_looks"] == pytest.approx(np.log1p(0.75 + cart))
    assert (of_c["carted"], of_c["in_cart"], of_c["on_wish_list"]) == (0, 0, 0)
    of_d = features_of(state, "1", "D")
    assert (of_d["viewed"], of_d["in_cart"]) == (0, 1)
    assert of_d["carted"] == pytest.approx(np.log1p(cart))


def test_what_nobody_looked_at_has_the_values_of_long_ago():
    state = state_of([("1", "C", VIEW, ago(1))])
    expected = dict.fromkeys(LOOKS, 0.0) | {"days_since_look": np.log1p(365.0)}
    assert features_of(state, "2", "C") == pytest.approx(expected)
    assert features_of(state_of([]), "1", "C") == pytest.approx(expected)


def test_looks_up_to_the_day_of_a_purchase_led_to_it():
    state = state_of(
        [("1", "B", CART, ago(5) + timedelta(hours=9)), ("1", "B", VIEW, ago(6)), ("1", "A", WISH, ago(3))]
    )
    of_b = features_of(state, "1", "B")  # bought five days ago
    assert of_b["carted"] > 0
    assert (of_b["open_looks"], of_b["in_cart"], of_b["share_of_looks"]) == (0, 0, 0)
    assert features_of(state, "1", "A")["on_wish_list"] == 1
    assert candidates_of(state, "1") == ["A"]
    again = state_of([("1", "B", CART, ago(3))])
    assert features_of(again, "1", "B")["in_cart"] == 1
    assert candidates_of(again, "1") == ["B"]


def test_what_was_returned_since_is_open_again():
    rows = [*ROWS[:1], ("1", "B", "I2", 95, 98), *ROWS[2:], ("3", "B", "I8", 50)]
    assert features_of(state_of([("1", "B", CART, ago(6))], rows), "1", "B")["in_cart"] == 1


def test_candidates_are_those_with_the_most_open_looks():
    looks = [("1", "C", VIEW, ago(1)), ("1", "C", VIEW, ago(2)), ("1", "D", VIEW, ago(1)), ("1", "E", CART, ago(20))]
    state = state_of(looks)
    assert candidates_of(state, "1") == ["C", "D", "E"]
    assert candidates_of(state, "1", most=2) == ["C", "D"]
    assert candidates_of(state, "2") == []


def test_a_product_that_was_looked_at_is_a_candidate_and_else_it_is_none():
    def products_of(state):
        (contexts,) = ContextMaker(state).contexts(state.events.index_of(["1"]))
        return {str(state.events.products[product]) for product in contexts.product}, contexts

    without, _ = products_of(state_of([]))
    seen, contexts = products_of(state_of([("1", "D", VIEW, ago(1))]))
    assert seen - without == {"D"}
    row = contexts.product.tolist().index(3)  # D
    assert not contexts.seen[row]
    assert contexts.features.shape[1] == len(FEATURES) + len(LOOKS)
    assert contexts.features[row][len(FEATURES)] > 0


@pytest.mark.parametrize(
    "look",
    [
        ("1", "C", VIEW, AT),
        ("1", "C", VIEW, AT + timedelta(days=1)),
        ("1", "C", VIEW, ago(RECIPE.look_days + 1)),
        ("9", "C", VIEW, ago(1)),
        ("1", "Z", VIEW, ago(1)),
    ],
    ids=["at the cutoff", "after it", "long ago", "of a stranger", "at what was never sold"],
)
def test_a_look_that_counts_for_nothing(look):
    state = state_of([look])
    assert candidates_of(state, "1") == []
    assert features_of(state, "1", "C")["customer_looks"] == 0


def test_a_product_first_sold_after_the_instant_is_no_candidate_at_it():
    rows, looks = [*ROWS, ("3", "F", "I8", 120)], looks_frame([("1", "F", VIEW, ago(1))])
    events = encode(frame(rows), AT + timedelta(days=40), looks)
    assert candidates_of(ShopState(events, microseconds(AT), RECIPE), "1") == []
    assert candidates_of(ShopState(events, microseconds(AT + timedelta(days=21)), RECIPE), "1") == ["F"]


def test_later_looks_change_no_bit_of_an_instant():
    shop = make_shop()
    early = CUTOFF - timedelta(days=28)
    looks = make_looks(shop, seed=3)
    future = looks[looks["looked_at"] >= early].sample(frac=0.5, random_state=1)
    other = pd.concat([looks[looks["looked_at"] < early], future]).sample(frac=1, random_state=2)
    tables = []
    for each in (looks, other):
        state = ShopState(encode(shop, CUTOFF, each), microseconds(early), RECIPE)
        assert len(state.interest.code) > 100
        tables.append(list(ContextMaker(state).contexts(state.known_customers)))
    for one, another in zip(*tables, strict=True):
        np.testing.assert_array_equal(one.product, another.product)
        np.testing.assert_array_equal(one.features, another.features)


def test_a_recipe_without_looks_is_what_it_was():
    assert feature_names(Recipe()) == FEATURES
    assert not {name for name in Recipe().as_dict() if name.startswith("look_")}
    assert Recipe().as_dict() == {name: value for name, value in RECIPE.as_dict().items() if "look_" not in name} | {
        "popular_candidates": 200, "taste_candidates": 60, "follower_windows": 2,
    }  # fmt: skip
    assert looks_for(Recipe(), looks_frame([("1", "C", VIEW, AT)])) is None


def test_a_model_that_reads_looks_cannot_be_forgotten_to_be_given_any():
    with pytest.raises(ValueError, match="give it the looks, or an empty table"):
        looks_for(RECIPE, None)
    assert looks_for(RECIPE, looks_frame([])).empty
