from dataclasses import replace
from datetime import timedelta

import pandas as pd
import pytest
import torch
from shop_with_tastes import CUTOFF, START, frame

from ncf_pipeline.columns import LISTS_OF, Lists
from ncf_pipeline.model import network_scores
from ncf_pipeline.model.features.events import encode
from ncf_pipeline.model.lists.assemble import ListMaker, customer_lists, product_lists
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.trained import TrainedModel, new_network


def of(lists, key, name):
    return lists[(lists[Lists.KEY] == key) & (lists[Lists.LIST_NAME] == name)][Lists.STOCK_CODES].iloc[0]


@pytest.fixture(scope="session")
def lists(recommender, shop):
    return customer_lists(recommender, shop, CUTOFF, 10)


def bought_before(shop, customer, at=CUTOFF):
    mine = shop[(shop["customer_id"] == customer) & (shop["purchased_at"] < at)]
    return set(mine["stock_code"])


def test_every_known_customer_has_three_lists(lists, shop):
    known = shop[(shop["purchased_at"] < CUTOFF) & shop["customer_id"].notna()]["customer_id"].unique()
    assert list(lists.columns) == list(Lists.ALL)
    assert set(lists[Lists.AUDIENCE]) == {"customer"}
    assert sorted(lists[Lists.KEY].unique()) == sorted(known)
    assert lists.groupby(Lists.KEY)[Lists.LIST_NAME].agg(list).map(tuple).unique().tolist() == [
        ("for_you", "discover", "buy_again")
    ]


def test_lists_have_no_duplicates_and_keep_their_promise(lists, shop):
    for row in lists.itertuples():
        before = bought_before(shop, row.key)
        assert len(set(row.stock_codes)) == len(row.stock_codes) <= 10
        if row.list_name == "discover":
            assert not before & set(row.stock_codes)
        if row.list_name == "buy_again":
            assert set(row.stock_codes) <= before
        if row.list_name == "for_you":
            assert len(row.stock_codes) == 10


def test_different_customers_get_different_lists(lists):
    chosen = lists[lists[Lists.LIST_NAME] == "for_you"]
    assert chosen[Lists.STOCK_CODES].map(tuple).nunique() > len(chosen) / 2


def test_customers_get_what_their_group_buys(lists):
    # Products come in four groups of ten, and so do tastes: P000-P009 for customers 100, 104, ...
    hits = [
        int(code[1:]) // 10 == (int(row.key) - 100) % 4
        for row in lists.itertuples()
        if row.list_name == "for_you"
        for code in row.stock_codes[:5]
    ]
    assert sum(hits) / len(hits) > 0.8


def test_a_returned_product_is_neither_discovered_nor_bought_again(recommender, shop):
    rows = pd.concat([shop, frame([(100, "P039", "R1", 140, 145)])])
    rows = rows[~((rows["customer_id"] == "100") & (rows["stock_code"] == "P039") & (rows["invoice_no"] != "R1"))]
    lists = customer_lists(recommender, rows, CUTOFF, 40, customers=["100"])
    assert "P039" not in of(lists, "100", "discover")
    assert "P039" not in of(lists, "100", "buy_again")


def test_a_customer_who_came_after_training_gets_personal_lists(recommender, shop):
    later = CUTOFF + timedelta(days=7)
    rows = pd.concat(
        [shop, frame([(1, code, f"N{day}", day) for day in (151, 153, 155) for code in ("P011", "P012", "P013")])]
    )
    lists = customer_lists(recommender, rows, later, 5, customers=["1"])
    assert lists[Lists.KEY].unique().tolist() == ["1"]
    assert set(of(lists, "1", "buy_again")) == {"P011", "P012", "P013"}
    assert set(of(lists, "1", "for_you")) & {"P011", "P012", "P013"}
    # The group that they bought from: P010-P019.
    assert sum(code.startswith("P01") for code in of(lists, "1", "discover")) >= 3


def test_a_product_that_came_after_training_can_be_recommended(recommender, shop):
    later = CUTOFF + timedelta(days=10)
    group = [customer for customer in range(100, 160) if customer % 4 == 0]
    rows = pd.concat([shop, frame([(customer, "NEW", f"N{customer}", 153) for customer in group[:-3]])])
    lists = customer_lists(recommender, rows, later, 10)
    assert any("NEW" in of(lists, str(customer), "discover") for customer in group[-3:])


@pytest.mark.parametrize("of_training", ["dense", "sparse"])
def test_a_catalogue_that_grows_past_the_limit_keeps_the_kind_of_weights_of_the_training(model, shop, of_training):
    count = len(model.products)
    limit, always = {"dense": (count, 10**6), "sparse": (count - 1, 0)}[of_training]
    rows = pd.concat([shop, frame([(None, f"NEW{number}", "N1", 151) for number in range(3)])])

    def lists(most):
        recipe = replace(model.recipe, max_dense_products=most)
        return customer_lists(replace(model, recipe=recipe), rows, CUTOFF + timedelta(days=3), 10)

    assert lists(limit).equals(lists(always))
    assert not lists(10**6).equals(lists(0))


def test_batches_together_are_all_lists(recommender, shop, lists):
    parts = list(ListMaker(recommender, shop, CUTOFF).customers(10, batch_customers=7))
    assert len(parts) > 5
    assert pd.concat(parts, ignore_index=True).equals(lists)


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_shards_are_disjoint_and_together_all_lists(recommender, shop, lists, shards):
    maker = ListMaker(recommender, shop, CUTOFF)
    parts = [pd.concat(maker.customers(10, shard=(place, shards))) for place in range(shards)]
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= len(LISTS_OF["customer"])
    assert pd.concat(parts, ignore_index=True).equals(lists)


def test_the_size_of_the_parts_changes_no_list(model, shop, monkeypatch):
    lists = customer_lists(model, shop, CUTOFF, 10)
    monkeypatch.setattr(network_scores, "ROWS_AT_ONCE", 50)
    assert customer_lists(model, shop, CUTOFF, 10).equals(lists)


def test_chosen_customers_get_the_same_lists_as_among_all(recommender, shop, lists):
    some = customer_lists(recommender, shop, CUTOFF, 10, customers=["104", "101", "777"])
    assert some[Lists.KEY].unique().tolist() == ["101", "104"]
    for row in some.itertuples():
        assert of(lists, row.key, row.list_name) == row.stock_codes


def test_without_known_customers_the_table_is_empty(recommender, shop):
    assert list(customer_lists(recommender, shop, START, 10).columns) == list(Lists.ALL)
    assert len(customer_lists(recommender, shop, CUTOFF, 10, customers=[])) == 0


def test_lists_are_filled_up_with_best_sellers_to_any_length(recommender, shop):
    lists = customer_lists(recommender, shop, CUTOFF, 40, customers=["100"])
    assert len(of(lists, "100", "for_you")) == 40
    assert len(of(lists, "100", "discover")) == 40 - len(bought_before(shop, "100"))


def test_bought_together_is_by_shared_baskets_not_by_sales(recommender):
    # A and B always go together, S sells with everything.
    baskets = [("A", "B", "S"), ("A", "B"), ("A", "B", "S"), ("A", "B")] + [("S", f"F{i}") for i in range(40)]
    rows = [(None, code, f"B{number}", number) for number, basket in enumerate(baskets) for code in basket]
    lists = product_lists(recommender, frame(rows), CUTOFF, 5)
    assert of(lists, "A", "bought_together") == ["B"]
    assert of(lists, "F1", "bought_together") == []  # one shared basket is not enough


@pytest.mark.parametrize(("baskets", "expected"), [(54, ["B", "C"]), (53, ["B"])])
def test_bought_together_needs_three_baskets_and_one_and_a_half_times_chance(recommender, baskets, expected):
    # A is in 9 baskets. B: 4 of its 4 with A, lift 4 * 54 / (9 * 4) = 6. C: 3 of its 12, lift 3 * 54 / (9 * 12) = 1.5,
    # and 1.47 of 53 baskets. D: 2 of its 2, too few. All baskets are of two products, so each weighs 1.
    pairs = [("A", "B")] * 4 + [("A", "C")] * 3 + [("A", "D")] * 2 + [("C", f"F{i}") for i in range(9)]
    pairs += [(f"X{i}", f"Y{i}") for i in range(baskets - len(pairs))]
    rows = [(None, code, f"N{number}", number) for number, pair in enumerate(pairs) for code in pair]
    assert of(product_lists(recommender, frame(rows), CUTOFF, 5), "A", "bought_together") == expected


# Cosine with P of the first table: Q 0.8, S -0.8, R -1. Of both tables, each of length 1: R (-1 + 1) / 2 = 0,
# Q (0.8 - 1) / 2 = -0.1, S (-0.8 - 1) / 2 = -0.9.
@pytest.mark.parametrize(("weight", "expected"), [(0.0, ["Q", "S", "R"]), (1.0, ["R", "Q", "S"])])
def test_similar_is_by_cosine_of_both_embeddings_about_their_mean(recipe, weight, expected):
    small = replace(recipe, embedding_dim=2)
    network = new_network(1, 4, small).eval()
    with torch.no_grad():
        network.product.weight[1:] = 5 + torch.tensor([[1, 0], [0.8, 0.6], [-1, 0], [-0.8, -0.6]])
        network.bought.weight[1:] = 7 + weight * torch.tensor([[0.0, 1], [0, -1], [0, 1], [0, -1]])
    trained = TrainedModel(small, CUTOFF, [1], list("PQRS"), network, epochs=1)
    # N came after training: it has no embedding, so its similar products are those of its baskets.
    rows = [(1, code, f"i{code}", 1) for code in "PQRS"] + [
        (1, code, f"n{day}", day) for day in (2, 3, 4) for code in "NS"
    ]
    rows += [(1, f"{code}{day}", f"z{day}", day) for day in range(10, 20) for code in "YZ"]
    lists = product_lists(trained, frame(rows), CUTOFF, 3)
    assert of(lists, "P", "similar") == expected
    assert of(lists, "N", "similar") == of(lists, "N", "bought_together") == ["S"]


def test_product_lists_cover_the_catalogue_without_the_product_itself(recommender, shop):
    lists = product_lists(recommender, shop, CUTOFF, 5)
    assert sorted(lists[Lists.KEY].unique()) == sorted(shop[shop["purchased_at"] < CUTOFF]["stock_code"].unique())
    for row in lists.itertuples():
        assert row.key not in row.stock_codes
        assert len(set(row.stock_codes)) == len(row.stock_codes) <= 5
    assert set(lists[lists[Lists.LIST_NAME] == "similar"][Lists.STOCK_CODES].map(len)) == {5}


def test_fallbacks_by_hand():
    rows = frame(
        [
            (1, "OLD", "1", 0),
            (1, "A", "2", 140),
            (2, "A", "3", 141),
            (1, "B", "4", 142),
            (3, "C", "5", 143),
            (1, "Z", "6", 151),
        ]
    )
    rows.loc[rows["stock_code"] == "C", "country"] = "France"
    lists = fallback_lists(rows, CUTOFF, 3)
    assert set(lists[Lists.AUDIENCE]) == {"fallback"}
    assert lists[Lists.KEY].unique().tolist() == ["*", "France", "United Kingdom"]
    assert of(lists, "*", "for_you") == ["A", "B", "C"]
    assert of(lists, "France", "for_you") == ["C", "A", "B"]
    assert of(lists, "*", "new_arrivals") == ["A", "B", "C"]
    assert of(lists, "France", "new_arrivals") == ["C", "A", "B"]


def test_a_purchase_without_a_country_counts_everywhere(shop):
    rows = shop.copy()
    rows.loc[rows.index % 7 == 0, "country"] = None
    lists = fallback_lists(rows, CUTOFF, 3)
    assert set(lists[Lists.KEY]) == {"*", *shop["country"].unique()}
    assert of(lists, "*", "for_you") == of(fallback_lists(shop, CUTOFF, 3), "*", "for_you")
    events = encode(rows, CUTOFF)
    assert set(events.countries) <= {"", *shop["country"].unique()}
