from dataclasses import astuple
from datetime import timedelta

import numpy as np
import pytest
from shop_with_tastes import START, frame

from ncf_pipeline.columns import Interactions
from ncf_pipeline.model.features import contexts as contexts_module
from ncf_pipeline.model.features import state as state_module
from ncf_pipeline.model.features import tables as tables_module
from ncf_pipeline.model.features.contexts import ContextMaker
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.habits import repeats_of
from ncf_pipeline.model.features.state import ShopState, rank_in_group
from ncf_pipeline.model.features.tables import (
    CROSS,
    CUSTOMER,
    FEATURES,
    PAIR,
    PRODUCT,
    TASTE,
    Block,
    as_float16,
    customer_table,
    feature_rows,
    filled_table,
    pair_table,
    product_table,
)
from ncf_pipeline.model.recipe import Recipe

# Customer 7 has three invoices, on days 0, 30 and 60; A is on the first two, B on the last, C was returned.
ROWS = [
    (7, "A", "1", 0),
    (7, "A", "2", 30),
    (7, "B", "3", 60),
    (7, "C", "3", 60, 70),
    (8, "B", "4", 89),
    (None, "A", "5", 88),
    (7, "D", "6", 95),  # after the instant
]
AT = START + timedelta(days=90)


@pytest.fixture
def state():
    return ShopState(encode(frame(ROWS), START + timedelta(days=200)), microseconds(AT), Recipe())


@pytest.fixture
def value(state):
    contexts = next(iter(ContextMaker(state).contexts(np.array([0]))))
    codes = state.events.products[contexts.product]

    def look_up(code, name):
        return float(contexts.features[list(codes).index(code)][FEATURES.index(name)])

    look_up.codes = list(codes)
    look_up.contexts = contexts
    return look_up


@pytest.mark.parametrize(
    ("code", "name", "expected"),
    [
        ("A", "times_bought", np.log1p(2)),
        ("A", "rate", np.sqrt(2 / 3)),
        ("A", "rate_since_first", np.sqrt(2 / 3)),
        ("B", "rate_since_first", 1.0),
        ("A", "days_since_bought", np.log1p(60)),
        ("A", "invoices_since_bought", np.log1p(1)),
        ("B", "invoices_since_bought", 0.0),
        ("A", "in_last_invoice", 0.0),
        ("B", "in_last_invoice", 1.0),
        ("A", "decayed_30", np.log1p(2**-3 + 2**-2)),
        ("A", "decayed_90", np.log1p(2**-1 + 2 ** (-2 / 3))),
        ("A", "gap_ratio", np.log(63 / 33)),
        ("A", "days_since_first_bought", np.log1p(90)),
        ("A", "pieces", np.log1p(4)),
        ("A", "bought_before", 1.0),
        ("A", "sales_7", np.log1p(1)),  # the guest's
        ("A", "guest_share", 1 / 3),
        ("B", "sales_28", np.log1p(1)),
        ("B", "sales_90", np.log1p(2)),
        ("A", "product_age", np.log1p(90)),
        ("B", "days_since_sold", np.log1p(1)),
        ("A", "invoices", np.log1p(3)),
        ("A", "days_since_invoice", np.log1p(30)),
        ("A", "distinct_products", np.log1p(2)),
        ("A", "repeat_share", 1 - 2 / 3),
        ("A", "tenure", np.log1p(90)),
        ("A", "basket_size", np.log1p(1)),
        ("A", "price_gap", 0.0),
    ],
)
def test_features_by_hand(value, code, name, expected):
    assert value(code, name) == pytest.approx(expected, abs=2e-3)


def test_later_purchases_are_no_candidates_and_returned_ones_are_not_owned(state, value):
    assert "D" not in value.codes
    assert "C" not in value.codes  # returned, and no one else bought it
    assert list(state.events.products[state.products_seen_by(0)]) == ["A", "B", "C"]
    assert value.contexts.bought.tolist() == [True, True]


@pytest.mark.parametrize("moving_day", [90, 99, 101, 140])
def test_a_move_changes_no_feature_of_an_instant_before_it(moving_day):
    """100 customers of France buy A and 100 of Spain buy B; half of those of France move to Spain."""
    rows = [(who, "AB"[who % 2], f"{who}-{day}", day) for who in range(200) for day in (80, moving_day)]
    shop = frame(rows)
    who, day = shop["customer_id"].astype(int).to_numpy(), (shop["purchased_at"] - START).dt.days.to_numpy()
    moved = (who % 4 == 0) & (day == moving_day)
    shop = shop.assign(country=np.where((who % 2 == 1) | moved, "Spain", "France"))
    at = microseconds(START + timedelta(days=100))
    state = ShopState(encode(shop, START + timedelta(days=200)), at, Recipe())
    contexts = next(iter(ContextMaker(state).contexts(np.array([0, 1, 2]))))
    share = contexts.features[:][:, FEATURES.index("country_share")].reshape(3, 2)  # (customer, product)
    moves = 50 if moving_day < 100 else 0
    # The share of a country's customers who buy the product; 20 customers of the whole shop are added.
    france, spain = (10 + 100 - moves) / (120 - moves), (10 + moves) / (120 + moves)
    expected = np.log((np.array([france, spain]) + 1e-3) / (0.5 + 1e-3))
    assert share[2, 0] == pytest.approx(expected[0], abs=2e-3)
    assert share[1, 0] == pytest.approx(expected[1], abs=2e-3)
    assert share[0, 0] == pytest.approx(expected[int(moves > 0)], abs=2e-3)


def test_the_future_changes_no_feature(shop):
    at = START + timedelta(days=100)
    # Each customer moves every 30 days.
    month = (shop["purchased_at"] - START).dt.days.to_numpy() // 30
    shop = shop.assign(
        country=np.where((shop["customer_id"].fillna("0").astype(int) + month) % 2 == 0, "France", "Spain")
    )
    tables = []
    for until in (at, START + timedelta(days=500)):
        events = encode(shop, until)
        state = ShopState(events, microseconds(at), Recipe())
        for contexts in ContextMaker(state).contexts(state.known_customers):
            owner = events.customers[np.repeat(contexts.customer, np.diff(contexts.start))]
            tables.append((owner.tolist(), events.products[contexts.product].tolist(), contexts.features[:]))
    (owner, product, features), (owner_later, product_later, features_later) = tables
    assert owner == owner_later
    assert product == product_later
    np.testing.assert_array_equal(features, features_later)


def test_chunks_equal_one_pass(shop):
    events = encode(shop, START + timedelta(days=100))
    at = microseconds(START + timedelta(days=100))
    whole, parts = (
        list(ContextMaker(ShopState(events, at, Recipe(chunk_mb=mb))).contexts(np.arange(20))) for mb in (16, 0)
    )
    assert (len(whole), len(parts)) == (1, 20)
    np.testing.assert_allclose(whole[0].features, np.concatenate([part.features for part in parts]), atol=2e-3)
    assert whole[0].product.tolist() == np.concatenate([part.product for part in parts]).tolist()


def test_every_feature_is_finite(shop):
    state = ShopState(encode(shop, START + timedelta(days=60)), microseconds(START + timedelta(days=60)), Recipe())
    for contexts in ContextMaker(state).contexts(state.known_customers):
        assert np.isfinite(contexts.features).all()
    products = product_table(state, repeats_of(state))
    assert np.isfinite(products).all()
    assert products.shape[1] == len(PRODUCT)
    assert customer_table(state).shape[1] == len(CUSTOMER)


def test_the_number_of_candidates_from_the_history_is_bounded(shop):
    at = START + timedelta(days=120)
    state = ShopState(
        encode(shop, at),
        microseconds(at),
        Recipe(max_history_candidates=4, popular_candidates=0, taste_candidates=0),
    )
    for contexts in ContextMaker(state).contexts(state.known_customers):
        assert np.diff(contexts.start).max() == 4


def test_a_table_is_filled_by_name_whatever_the_order_of_its_columns():
    columns = [("b", np.array([3, 4])), ("a", np.array([True, False]))]
    assert filled_table(("a", "b"), 2, columns).tolist() == [[1, 3], [0, 4]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": 2}, "no values for b"),
        ({"a": 2, "b": 2, "c": 2}, "no column c, or it is filled twice"),
        ([("a", 2), ("a", 2), ("b", 2)], "no column a, or it is filled twice"),
        ({"a": 2, "b": 3}, r"column b has shape \(3,\) instead of \(2,\)"),
        ({"a": 2, "b": 1}, r"column b has shape \(1,\) instead of \(2,\)"),  # which NumPy would repeat
    ],
)
def test_a_table_with_a_column_missing_unknown_twice_or_of_another_length_is_refused(columns, message):
    named = columns.items() if isinstance(columns, dict) else columns
    with pytest.raises(ValueError, match=message):
        filled_table(("a", "b"), 2, ((name, np.ones(length)) for name, length in named))


@pytest.mark.parametrize("change", ["one name more", "one name less", "another name"])
@pytest.mark.parametrize(
    ("module", "names"),
    [
        (tables_module, "PAIR"),
        (tables_module, "PRODUCT"),
        (tables_module, "CUSTOMER"),
        (contexts_module, "TASTE"),
        (contexts_module, "CROSS"),
    ],
)
def test_a_feature_without_values_and_values_without_a_feature_are_refused(state, monkeypatch, module, names, change):
    before = getattr(module, names)
    after = {"one name more": (*before, "new"), "one name less": before[1:], "another name": (*before[1:], "new")}
    monkeypatch.setattr(module, names, after[change])
    with pytest.raises(ValueError, match=r"no column|no values for"):
        next(ContextMaker(state).contexts(state.known_customers))


def test_rows_of_features_are_joined_only_in_the_order_of_their_names():
    blocks = {
        names: Block(np.full((2, len(names)), number, np.float16), None)
        for number, names in enumerate((PAIR, PRODUCT, CUSTOMER, TASTE, CROSS))
    }
    product = Block(np.stack([np.full(len(PRODUCT), value, np.float16) for value in (7, 8, 9)]), np.array([2, 0]))
    rows = feature_rows(blocks | {PRODUCT: product})
    assert rows.shape == (2, len(FEATURES)) == rows[:].shape
    assert np.unique(rows[0]).tolist() == [0, 2, 3, 4, 9]
    assert rows[np.array([1])][0, len(PAIR)] == 7
    with pytest.raises(ValueError, match="not in the order of FEATURES"):
        feature_rows(dict(reversed(blocks.items())))
    with pytest.raises(ValueError, match="not in the order of FEATURES"):
        feature_rows({names: block for names, block in blocks.items() if names != PRODUCT})
    with pytest.raises(ValueError, match="27 columns for 28 names"):
        feature_rows(blocks | {PAIR: Block(blocks[PAIR].table[:, 1:], None)})


def test_no_table_of_features_has_an_empty_place(shop):
    at = START + timedelta(days=60)
    state = ShopState(encode(shop, at), microseconds(at), Recipe())
    table = pair_table(state, repeats_of(state))
    assert table.shape == (len(state.pairs.product), len(PAIR))
    assert np.isfinite(table).all()


def test_pairs_of_some_customers_at_a_time_have_the_same_features(shop, monkeypatch):
    at = START + timedelta(days=60)
    returned = shop.assign(**{Interactions.RETURNED_AT: shop[Interactions.PURCHASED_AT].where(shop.index % 5 == 0)})
    state = ShopState(encode(returned, at), microseconds(at), Recipe())
    state.is_bought  # noqa: B018 - a cached property of the whole
    whole = pair_table(state, repeats_of(state))
    assert 0 < (state.pairs.times == 0).sum() < len(whole)
    for most in (1, 7, 100):
        monkeypatch.setattr(state_module, "EVENTS_AT_ONCE", most)
        some = ShopState(state.events, state.at, state.recipe)
        for one, other in zip(astuple(repeats_of(some)), astuple(repeats_of(state)), strict=True):
            np.testing.assert_array_equal(one, other)
        assert np.array_equal(pair_table(some, repeats_of(some)), whole)


def test_a_shop_without_purchases_has_no_pairs(shop):
    state = ShopState(encode(shop, START), microseconds(START), Recipe())
    assert pair_table(state, repeats_of(state)).shape == (0, len(PAIR))


def test_every_element_has_a_rank_in_its_group():
    group, key = np.array([7, 3, 7, 7]), np.array([5, 9, 2, 5])
    assert rank_in_group(group).tolist() == [0, 0, 1, 2]
    assert rank_in_group(group, key).tolist() == [1, 0, 0, 2]
    assert rank_in_group(group, -key, -np.arange(4)).tolist() == [1, 0, 2, 0]
    assert rank_in_group(group[:0]).tolist() == []


def test_a_float16_is_rounded_as_numpy_rounds():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    every = every[np.isfinite(every)]
    between = ((np.sort(every)[1:].astype(float) + np.sort(every)[:-1]) / 2).astype(np.float32)  # ties
    random = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    values = np.concatenate([every, between, np.nextafter(between, np.float32(9)), random, [np.inf, -np.inf, np.nan]])
    values = values.astype(np.float32)[:, None]
    assert np.array_equal(as_float16(values), values.astype(np.float16), equal_nan=True)
