"""What all customers share, taken apart and put together: lists are the same to the last bit."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shop_with_tastes import CUTOFF, frame, make_shop, model, recipe, recommender, shop  # noqa: F401

from ncf_pipeline.columns import Lists
from ncf_pipeline.model.chances import FACTS, PIECES, Chances
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.model.lists.shared import Parts, put_together
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import Variety

RULES = Rules(hidden=frozenset({"P001"}), pins=(Pin("P002", "for_you"),), max_per_family=2)
STYLE = Style(order="value", variety=Variety(family=1, repeat=1, category=1, categories={"P003": "cups"}))
CHANCES = Chances(
    facts=FACTS,
    knots=tuple(np.linspace(-5, -1, PIECES - 1).tolist()),
    weights=(0.5,) * (PIECES + len(FACTS) - 1),
    intercept=-1.0,
    mean=(0.0,) * (PIECES + len(FACTS) - 1),
    deviation=(1.0,) * (PIECES + len(FACTS) - 1),
    low=(-9.0,) * len(FACTS),
    high=(9.0,) * len(FACTS),
    customers=1,
    pairs=1,
    bought=1,
    days=28,
)


def outside_of(maker, scored_by):
    parts = {"chances": scored_by.chances, "network": scored_by.network} if scored_by is not None else {}
    return {"rules": maker.rules, "model": scored_by, **parts}


def by_way_of_json(maker, scored_by):
    parts = Parts(outside_of(maker, scored_by))
    structure = json.loads(json.dumps(parts.of(maker)))
    mapped = {name: array.copy(order="K") for name, array in parts.arrays.items()}
    return put_together(structure, mapped, outside_of(maker, scored_by)), parts


def everything(maker):
    shards = [
        lists.assign(reasons=maker.reasons(lists), due=maker.due(lists))
        for shard in range(3)
        for lists in maker.customers(6, shard=(shard, 3), batch_customers=7, with_chances=True)
    ]
    return pd.concat([*shards, maker.products(6)], ignore_index=True)


@pytest.mark.parametrize("style", [Style(), STYLE], ids=["plain", "by value, with variety"])
def test_lists_of_what_was_put_together_are_the_same(shop, recommender, style):  # noqa: F811
    if recommender is not None:
        recommender = replace(recommender, chances=CHANCES)
    first = ListMaker(recommender, shop, CUTOFF)
    shown = pd.concat(list(first.customers(6)))
    earlier = ([shown], CUTOFF) if style.variety.is_on else None
    expected = everything(ListMaker(recommender, shop, CUTOFF, RULES, style=style, earlier=earlier))
    maker = ListMaker(recommender, shop, CUTOFF, RULES, style=style, earlier=earlier)
    maker.make_shared(with_due=True)
    other, parts = by_way_of_json(maker, recommender)
    pd.testing.assert_frame_equal(everything(other), expected)
    assert other.countries() == maker.countries()
    assert other.style == style
    if maker.certainty is not None:
        assert other.certainty.counts.sum() == expected[Lists.KEY][expected[Lists.AUDIENCE] == "customer"].nunique()
    assert len(parts.personal) == 1
    (who,) = (bytes(parts.arrays[name]) for name in parts.personal)
    assert json.loads(who) == maker.state.events.customers.tolist()


def test_two_makers_keep_once_what_they_share(shop, model):  # noqa: F811
    maker = ListMaker(model, shop, CUTOFF)
    maker.make_shared(with_due=True)
    by_value = maker.in_order("value")
    by_value.make_shared(with_due=True)
    alone, both = Parts(outside_of(maker, model)), Parts(outside_of(maker, model))
    alone.of(maker)
    structure = both.of((maker, by_value))
    assert len(both.arrays) - len(alone.arrays) < 10  # those of the spend
    first, second = put_together(structure, both.arrays, outside_of(maker, model))
    assert first.state is second.state is not maker.state
    pd.testing.assert_frame_equal(everything(second), everything(by_value))


def test_a_shop_whose_customers_returned_everything_has_nothing_to_share_and_no_lists():
    rows = frame([(1, "A", "1", 10, 20), (2, "B", "2", 10, 20)])
    maker = ListMaker(None, rows, CUTOFF)
    maker.make_shared(with_due=True)
    other, _ = by_way_of_json(maker, None)
    assert list(other.customers(5)) == []
    pd.testing.assert_frame_equal(other.products(5), maker.products(5))


def test_what_is_of_another_package_is_refused_by_name():
    with pytest.raises(TypeError, match=r"Path'> is not of this package"):
        Parts({}).of({"place": Path("x")})


@pytest.mark.parametrize(
    ("module", "name"),
    [("lists.assemble", "Style"), ("lists.assemble", "json"), ("..settings", "Settings"), ("nothing", "Nothing")],
)
def test_it_makes_nothing_but_objects_of_classes_of_the_package(module, name):
    with pytest.raises(ValueError, match=name):
        put_together({"class": [module, name], "number": 0, "attributes": {}}, {}, {})


def test_the_lists_of_one_customer_take_no_more_memory_in_a_large_shop(model):  # noqa: F811
    some = replace(model, chances=CHANCES, recipe=replace(model.recipe, follower_pool=100, neighbour_pool=100))
    peaks = []
    for customers in (400, 2000):
        maker = ListMaker(some, make_shop(customers=customers), CUTOFF)
        maker.make_shared(with_due=True)
        lists = next(maker.customers(6, shard=(0, maker.known)))
        one = maker.state.events.index_of(lists[Lists.KEY].unique())
        for _ in range(2):  # the first one makes indexes, once
            tracemalloc.start()
            list(maker.scorer.candidates(one)), maker.reasons(lists), maker.due(lists)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    _, few, _, many = peaks
    assert many < 1.3 * few, "something was made that has a row for each customer or each purchase"
