"""A merchandiser's rules by hand, and in the lists of a shop: hidden products leave no gap."""

import json

import pytest
from shop_with_tastes import CUTOFF

from ncf_pipeline.columns import BOUGHT_TOGETHER, DISCOVER, FOR_YOU, SIMILAR, Lists
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.lists.rules import Pin, Rules


def arranged(rules, candidates, count=3, country="France", never=()):
    shown = [code for code in candidates if rules.shows(code, country)]
    return rules.arranged(iter(shown), count, list_name=FOR_YOU, country=country, never=never)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(), ["1A", "2", "1B"]),
        (Rules(hidden=frozenset({"2", "1A"})), ["1B", "1C", "3"]),
        (Rules(only_in={"2": frozenset({"EIRE"}), "1B": frozenset({"France", "EIRE"})}), ["1A", "1B", "1C"]),
        (Rules(max_per_family=1), ["1A", "2", "3"]),
        (Rules(max_per_family=2), ["1A", "2", "1B"]),
        (Rules(pins=(Pin("3", FOR_YOU),)), ["3", "1A", "2"]),
        (Rules(pins=(Pin("X", FOR_YOU), Pin("1B", FOR_YOU, "France", 2))), ["X", "1B", "1A"]),
        (Rules(pins=(Pin("X", FOR_YOU), Pin("Y", FOR_YOU), Pin("X", FOR_YOU, None, 3))), ["X", "Y", "1A"]),
        (Rules(pins=(Pin("X", FOR_YOU, None, 9),)), ["1A", "2", "X"]),
        (Rules(pins=(Pin("X", FOR_YOU, "EIRE"), Pin("Y", DISCOVER))), ["1A", "2", "1B"]),
        (Rules(pins=tuple(Pin(code, FOR_YOU) for code in "WXYZ")), ["W", "X", "Y"]),
        (Rules(pins=(Pin("2", FOR_YOU),), hidden=frozenset({"2"})), ["1A", "1B", "1C"]),
        (Rules(pins=(Pin("1C", FOR_YOU), Pin("1D", FOR_YOU)), max_per_family=1), ["1C", "2", "3"]),
    ],
)
def test_a_list_under_rules(rules, expected):
    assert arranged(rules, ["1A", "2", "1B", "1C", "3"]) == expected


def test_a_list_leaves_out_pins_of_products_that_are_never_pinned_in_it():
    rules = Rules(pins=(Pin("X", FOR_YOU),))
    assert arranged(rules, ["1", "2", "3"], never={"X"}) == ["1", "2", "3"]


def test_a_pinned_pair_is_on_the_list_of_its_product_alone():
    rules = Rules(pins=(Pin("X", BOUGHT_TOGETHER, beside="7"), Pin("Y", BOUGHT_TOGETHER, None, 2, "7")))

    def beside(code, list_name=BOUGHT_TOGETHER):
        return rules.arranged("ABC", 3, list_name=list_name, country=None, beside=code)

    assert beside("7") == ["X", "Y", "A"]
    assert beside("8") == ["A", "B", "C"]
    assert beside("7", SIMILAR) == ["A", "B", "C"]
    assert arranged(rules, "ABC") == ["A", "B", "C"]
    assert not rules.arranges(FOR_YOU, "France")


def test_a_list_is_short_only_if_no_candidate_is_left():
    assert arranged(Rules(max_per_family=1), ["1A", "1B"]) == ["1A"]
    assert arranged(Rules(only_in={"1A": frozenset({"EIRE"})}), ["1A"], country=None) == []


RULES = Rules(
    hidden=frozenset(f"P{number:03d}" for number in range(0, 40, 2)),
    only_in={"P001": frozenset({"EIRE"}), "P003": frozenset({"United Kingdom"})},
    pins=(Pin("P005", DISCOVER), Pin("NOVEL1", FOR_YOU, "United Kingdom", 2), Pin("P007", FOR_YOU, "EIRE")),
)


def test_every_list_of_a_shop_keeps_the_rules_and_stays_full(recommender, shop):
    maker = ListMaker(recommender, shop, CUTOFF, RULES)
    free = {f"P{number:03d}" for number in range(5, 40, 2)}
    for lists in maker.customers(10):
        reasons = maker.reasons(lists)
        for row, text in zip(lists.itertuples(), reasons, strict=True):
            assert set(row.stock_codes) <= free | {"P003", "NOVEL1"}
            bought = set(shop[(shop["customer_id"] == row.key) & (shop["purchased_at"] < CUTOFF)]["stock_code"])
            if row.list_name == "discover":
                assert len(row.stock_codes) == min(10, len((free | {"P003"}) - bought))
            if row.list_name == "for_you":
                assert len(row.stock_codes) == 10
                assert row.stock_codes[1] == "NOVEL1"
                assert json.loads(text)[1] == ["pinned"]
            if row.list_name == "discover":
                assert not set(row.stock_codes) & bought
                assert (row.stock_codes[0] == "P005") == ("P005" not in bought)


def test_lists_for_no_country_leave_out_products_for_some_countries(model, shop):
    products = ListMaker(model, shop, CUTOFF, RULES).products(5)
    free = {f"P{number:03d}" for number in range(5, 40, 2)}
    assert set(products[Lists.STOCK_CODES].explode().dropna()) <= free
    assert set(products[products[Lists.LIST_NAME] == "similar"][Lists.STOCK_CODES].map(len)) == {5}
    fallbacks = fallback_lists(shop, CUTOFF, 20, RULES).set_index([Lists.KEY, Lists.LIST_NAME])[Lists.STOCK_CODES]
    assert set(fallbacks["*", "for_you"]) == free
    assert set(fallbacks["United Kingdom", "for_you"]) == free | {"P003", "NOVEL1"}


def test_rules_that_hide_nothing_change_no_list(recommender, shop):
    ruled = ListMaker(recommender, shop, CUTOFF, Rules(max_per_family=100))
    plain = ListMaker(recommender, shop, CUTOFF)
    assert next(iter(ruled.customers(10))).equals(next(iter(plain.customers(10))))
    assert ruled.products(10).equals(plain.products(10))
