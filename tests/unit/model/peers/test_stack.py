"""The stack of two peers, with places that can be summed by hand."""

import pandas as pd
import pytest

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Lists
from ncf_pipeline.model.peers import ALONE, PEERS
from ncf_pipeline.model.peers.stack import BEST, DEPTH, STACK, Members, fused, names_in, stack


def lists(*rows):
    return pd.DataFrame([("customer", *row) for row in rows], columns=list(Lists.ALL))


def ranked(made, question):
    chosen = made[made[Lists.LIST_NAME] == question]
    return dict(zip(chosen[Lists.KEY], chosen[Lists.STOCK_CODES], strict=True))


def test_a_product_counts_its_weight_over_60_and_its_place_on_each_list():
    # a .5/61 + .5/63 = .016133, b .5/62 + .5/61 = .016261, c .5/63 + .5/62 = .016001: b, a, c.
    one, other = lists(("1", FOR_YOU, ["a", "b", "c"])), lists(("1", FOR_YOU, ["b", "c", "a"]))
    for share, expected in ((0.5, ["b", "a", "c"]), (0.9, ["a", "b", "c"]), (0.1, ["b", "c", "a"])):
        made = fused({"x": one, "y": other}, 3, {FOR_YOU: Members("x", "y", share)})
        assert ranked(made, FOR_YOU) == {"1": expected}


def test_a_product_on_one_list_alone_takes_part_and_ties_are_by_stock_code():
    one, other = lists(("1", FOR_YOU, ["b", "z"])), lists(("1", FOR_YOU, ["a", "y"]))
    made = fused({"x": one, "y": other}, 3, {FOR_YOU: Members("x", "y", 0.5)})
    assert ranked(made, FOR_YOU) == {"1": ["a", "b", "y"]}


def test_each_question_has_its_members_and_the_lists_of_a_customer_are_adjacent():
    whole = {
        name: lists(*((who, question, [name]) for question in (FOR_YOU, DISCOVER) for who in ("1", "2")))
        for name in ("x", "y", "z")
    }
    made = fused(whole, 1, {FOR_YOU: Members("x", "y", 0.6), DISCOVER: Members("z", "x", 0.6)})
    assert ranked(made, FOR_YOU) == {"1": ["x"], "2": ["x"]}
    assert ranked(made, DISCOVER) == {"1": ["z"], "2": ["z"]}
    assert made[Lists.KEY].tolist() == ["1", "1", "2", "2"]


def test_members_are_trained_once_and_asked_for_long_lists():
    asked = []

    def peer(name):
        def recommend(interactions, as_of, top_n, customers):
            asked.append((name, top_n))
            return lists(*((who, question, [name]) for who in customers for question in (FOR_YOU, DISCOVER)))

        return recommend

    made = stack({name: peer(name) for name in names_in(BEST)}, None, None, 5, ["1"])
    assert ranked(made, FOR_YOU)["1"][0] == BEST[FOR_YOU].first
    assert asked == [(name, DEPTH) for name in names_in(BEST)]


@pytest.mark.parametrize("question", BEST)
def test_the_best_two_are_peers(question):
    assert {BEST[question].first, BEST[question].second} <= ALONE.keys()
    assert 0.5 <= BEST[question].share < 1
    assert list(PEERS) == [*ALONE, STACK]
