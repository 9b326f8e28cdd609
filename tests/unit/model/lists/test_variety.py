"""Variety by hand, and in the lists of a shop: limits hold among the first places, and no list gets shorter."""

from datetime import timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recount import Facts, check_every_reason, with_reasons
from shop_with_tastes import CUTOFF, frame

from ncf_pipeline.columns import BUY_AGAIN, DISCOVER, FOR_YOU, Lists
from ncf_pipeline.model.families import family_of
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import LOOK_AHEAD, Reranking, ShownBefore, Variety
from ncf_pipeline.model.recipe import Recipe

WEEK = timedelta(days=7)
COLOURS = {"1A": "red", "1B": "red", "1C": "blue", "2": "red", "3": "blue"}  # 4 and 5 have no category


def ranked(variety, candidates, pinned=(), again=()):
    return list(Reranking(variety, sorted({*candidates, *pinned})).ranked(candidates, pinned=pinned, again=again))


@pytest.mark.parametrize(
    ("variety", "expected"),
    [
        (Variety(family=1, places=3), ["1A", "2", "3", "1B", "1C", "4", "5"]),
        (Variety(family=2, places=3), ["1A", "1B", "2", "1C", "3", "4", "5"]),
        (Variety(family=3, places=3), ["1A", "1B", "1C", "2", "3", "4", "5"]),
        (Variety(family=1, places=1), ["1A", "1B", "1C", "2", "3", "4", "5"]),
        (Variety(category=1, places=3, categories=COLOURS), ["1A", "1C", "4", "1B", "2", "3", "5"]),
        (Variety(category=2, places=3, categories=COLOURS), ["1A", "1B", "1C", "2", "3", "4", "5"]),
        (Variety(category=1, places=3), ["1A", "1B", "1C", "2", "3", "4", "5"]),
        (Variety(family=1, category=1, places=3, categories=COLOURS), ["1A", "3", "4", "1B", "1C", "2", "5"]),
        (Variety(repeat=0, places=3), ["1B", "2", "3", "1A", "1C", "4", "5"]),
        (Variety(repeat=1, places=3), ["1A", "1B", "2", "1C", "3", "4", "5"]),
        # Too much alike: the best of what was left out take the places.
        (Variety(family=1, places=6), ["1A", "2", "3", "4", "5", "1B", "1C"]),
    ],
)
def test_the_first_places_keep_the_limits(variety, expected):
    assert ranked(variety, ["1A", "1B", "1C", "2", "3", "4", "5"], again={"1A", "1C"}) == expected


def test_one_family_one_product_or_none():
    alike = [f"7{letter}" for letter in "ABCDEFG"]
    assert ranked(Variety(family=1), alike) == alike
    assert ranked(Variety(family=1, category=1, repeat=0), ["7A"], again={"7A"}) == ["7A"]
    assert ranked(Variety(family=1), []) == []


def test_pins_count_towards_the_limits_and_stay():
    assert ranked(Variety(family=2, places=3), ["1B", "1C", "2", "3"], pinned=["1A"]) == ["1B", "2", "1C", "3"]
    rules = Rules(pins=(Pin("1A", FOR_YOU), Pin("9", FOR_YOU, position=5)))
    listed = rules.arranged(
        ["1B", "2", "3", "1C", "4"],
        6,
        list_name=FOR_YOU,
        country=None,
        reranking=Reranking(Variety(family=1, places=3), ["1A", "1B", "1C", "2", "3", "4", "9"]),
    )
    assert listed == ["1A", "2", "3", "1B", "9", "1C"]
    # More pins than first places: the model's order is left.
    assert ranked(Variety(family=1, places=1), ["1B", "1C"], pinned=["1A"]) == ["1B", "1C"]


def test_variety_is_looked_for_among_the_best_only():
    alike = [f"7{letter}{other}" for letter in "AB" for other in "ABCDEFGHIJ"]  # one family of 20
    far = [f"{number}" for number in range(1000, 1000 + LOOK_AHEAD)]
    categories = dict.fromkeys(far, "same")
    found = ranked(Variety(category=1, places=2, categories=categories), [*far, "else"])
    assert found[:2] == far[:2]
    assert ranked(Variety(family=1, places=2), [*alike, "else"])[:2] == ["7AA", "else"]


@given(
    st.lists(st.sampled_from([f"{number}{letter}" for number in range(4) for letter in ["", "A", "B"]]), unique=True),
    st.integers(1, 3),
    st.integers(1, 6),
    st.sets(st.sampled_from(["0", "1A", "2B"])),
)
def test_nothing_is_lost_and_a_limit_is_passed_only_if_it_must_be(candidates, most, places, again):
    found = ranked(Variety(family=most, repeat=1, places=places), candidates, again=again)
    assert sorted(found) == sorted(candidates)
    assert found == ranked(Variety(family=most, repeat=1, places=places), candidates, again=again)
    kept = list[str]()  # a greedy choice, written once more
    for code in candidates:
        of_family = sum(family_of(other) == family_of(code) for other in kept)
        repeated = len(again.intersection(kept))
        if len(kept) < places and of_family < most and (code not in again or repeated < 1):
            kept.append(code)
    assert found[: len(kept)] == kept
    assert found[len(kept) :] == [code for code in candidates if code not in kept]


def test_shown_before_counts_first_places_until_the_customer_buys():
    rows = frame(
        [(1, "A", "1", 10), (2, "B", "2", 20), (1, "B", "3", 145), (1, "C", "4", 149, 149.5), (1, "D", "5", 9)]
    )
    state = ShopState(encode(rows, CUTOFF), microseconds(CUTOFF), Recipe())
    lists = pd.DataFrame(
        [
            ("customer", "1", FOR_YOU, ["A", "B", "C", "D"]),
            ("customer", "1", DISCOVER, ["GONE", "B"]),
            ("customer", "1", BUY_AGAIN, ["A"]),
            ("customer", "404", FOR_YOU, ["A"]),
            ("product", "A", "similar", ["B"]),
            ("fallback", "*", FOR_YOU, ["A"]),
        ],
        columns=list(Lists.ALL),
    )
    shown = ShownBefore([lists.iloc[:2], lists.iloc[2:]], CUTOFF - WEEK, state, 3)
    # B was bought since; C was bought since and returned; D was in the fourth place; A was bought long before.
    assert shown.again(0, FOR_YOU) == {"A", "C"}
    assert shown.again(0, DISCOVER) == frozenset()
    assert shown.again(0, BUY_AGAIN) == frozenset()
    assert shown.again(1, FOR_YOU) == frozenset()
    assert ShownBefore([], CUTOFF - WEEK, state, 3).again(0, FOR_YOU) == frozenset()


# Products of the shop with tastes have no letters after a number, so its categories stand for families here.
CATEGORIES = {f"P{number:03d}": f"shelf {number // 5}" for number in range(40)}
VARIETY = Variety(family=1, category=2, repeat=1, places=5, categories=CATEGORIES)


@pytest.fixture(scope="module")
def plain(recommender, shop):
    return next(iter(ListMaker(recommender, shop, CUTOFF).customers(10)))


@pytest.fixture(scope="module")
def earlier(recommender, shop):
    return next(iter(ListMaker(recommender, shop, CUTOFF - WEEK).customers(10)))


def varied(recommender, shop, variety, earlier=None):
    shown = ([earlier], CUTOFF - WEEK) if earlier is not None else None
    return ListMaker(recommender, shop, CUTOFF, style=Style(variety=variety), earlier=shown)


def test_lists_of_a_shop_keep_the_limits_and_their_length(recommender, shop, plain, earlier):
    maker = varied(recommender, shop, VARIETY, earlier)
    (lists,) = maker.customers(10)
    assert lists.drop(columns=Lists.STOCK_CODES).equals(plain.drop(columns=Lists.STOCK_CODES))
    assert lists[Lists.STOCK_CODES].map(len).equals(plain[Lists.STOCK_CODES].map(len))
    before = earlier.set_index([Lists.KEY, Lists.LIST_NAME])[Lists.STOCK_CODES]
    changed = 0
    for now, then in zip(lists.itertuples(), plain.itertuples(), strict=True):
        if now.list_name == BUY_AGAIN:
            assert now.stock_codes == then.stock_codes
            continue
        first = now.stock_codes[:5]
        changed += first != then.stock_codes[:5]
        assert pd.Series(first).map(CATEGORIES).value_counts().max() <= 2
        shown = set(before.get((now.key, now.list_name), [])[:5])
        recent = shop[(shop["customer_id"] == now.key) & (shop["purchased_at"] >= CUTOFF - WEEK)]
        recent = set(recent[recent["purchased_at"] < CUTOFF]["stock_code"])
        assert len(set(first) & shown - recent) <= 1
    assert changed > 50


def test_limits_that_hold_anyway_change_no_list(recommender, shop, plain, earlier):
    wide = Variety(family=5, category=5, repeat=5, categories=CATEGORIES)
    assert next(iter(varied(recommender, shop, wide, earlier).customers(10))).equals(plain)


def test_without_earlier_lists_nothing_was_shown(recommender, shop, plain):
    assert next(iter(varied(recommender, shop, Variety(repeat=0)).customers(10))).equals(plain)


def test_the_lists_of_a_customer_depend_on_no_other(recommender, shop, earlier):
    maker = varied(recommender, shop, VARIETY, earlier)
    whole = pd.concat(maker.customers(10, batch_customers=7), ignore_index=True)
    some = next(iter(maker.customers(10, chosen=["104", "101"])))
    assert some.equals(whole[whole[Lists.KEY].isin(["101", "104"])].reset_index(drop=True))


@pytest.mark.parametrize("order", ["precision", "value"])
def test_every_reason_is_true_in_any_order(recommender, shop, earlier, order):
    maker = ListMaker(recommender, shop, CUTOFF, style=Style(order, VARIETY), earlier=([earlier], CUTOFF - WEEK))
    counts = check_every_reason(with_reasons(maker), Facts(shop, CUTOFF))
    assert {code for name, code in counts if name == BUY_AGAIN} == {"bought"}
    assert (DISCOVER, "bought") not in counts
    assert sum(counts.values()) > 1000


def test_a_pass_over_many_candidates_still_fills_the_list(shop):
    # Every product is of one category, so nothing but the order of scores is left.
    one = Variety(category=1, categories=dict.fromkeys(CATEGORIES, "all"))
    maker = ListMaker(None, shop, CUTOFF, style=Style(variety=one))
    plain = ListMaker(None, shop, CUTOFF)
    assert next(iter(maker.customers(10))).equals(next(iter(plain.customers(10))))
