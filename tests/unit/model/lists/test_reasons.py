"""Every reason is checked against the purchases."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from recount import Facts, check_every_reason, with_reasons
from shop_with_tastes import CUTOFF, frame

from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.copurchase import sparse_parts
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.reasons import MIN_BUYERS, NEW_DAYS, Reasons
from ncf_pipeline.model.recipe import Recipe


def reason_for(rows, customer, product, at=CUTOFF):
    state = ShopState(encode(rows, at), microseconds(at), Recipe())
    products = state.events.products.tolist()
    index = state.events.customers.tolist().index(str(customer))
    (reason,) = Reasons(state).of(
        pd.array([index]).to_numpy("int64"), pd.array([products.index(product)]).to_numpy("int64")
    )
    return tuple(json.loads(reason))


def test_every_reason_of_every_list_is_true(recommender, shop):
    lists = with_reasons(ListMaker(recommender, shop, CUTOFF))
    counts = check_every_reason(lists, Facts(shop, CUTOFF))
    assert {code for _, code in counts} >= {"bought", "goes_with", "popular_with"}
    assert {code for name, code in counts if name == "buy_again"} == {"bought"}
    assert ("discover", "bought") not in counts


def test_bought_counts_invoices_without_returned_ones():
    rows = frame([(1, "A", "1", 10), (1, "A", "1", 10), (1, "A", "2", 20), (1, "A", "3", 30, 40), (1, "A", "4", 151)])
    assert reason_for(rows, 1, "A") == ("bought", 2)


# Ten baskets. A and B: 4 of A's 4 and of B's 5, lift 4 * 10 / (4 * 5) = 2. S is in all: lift 1 with anything.
BASKETS = ["ABS", "ABS", "ABS", "ABS", "BS", "S", "S", "S", "SC", "SC"]


def guests(baskets):
    return [(None, code, f"G{number}", number) for number, basket in enumerate(baskets) for code in basket]


def test_goes_with_needs_shared_baskets_more_often_than_by_chance():
    rows = guests(BASKETS)
    assert reason_for(frame([*rows, (1, "A", "X", 50)]), 1, "B") == ("goes_with", "A")
    assert reason_for(frame([*rows, (1, "S", "X", 50)]), 1, "B")[0] != "goes_with"  # a best seller goes with nothing
    assert reason_for(frame([*rows, (1, "C", "X", 50)]), 1, "S")[0] != "goes_with"  # two shared baskets are not enough
    assert reason_for(frame([*rows, (1, "A", "X", 50, 60), (1, "C", "Y", 50)]), 1, "B")[0] != "goes_with"  # returned


@pytest.mark.parametrize(("buyers", "code"), [(MIN_BUYERS, "popular_with"), (MIN_BUYERS - 1, "taste")])
def test_popular_with_counts_customers_who_bought_both_on_any_day(buyers, code):
    both = [line for who in range(10, 10 + buyers) for line in ((who, "A", f"a{who}", 1), (who, "B", f"b{who}", 2))]
    rest = [(who, f"Z{product}", f"z{who}", 90 + product) for who in range(40, 60) for product in range(25)]
    reason = reason_for(frame([*both, *rest, (1, "A", "X", 50)]), 1, "B")
    assert reason == ((code, "A") if code == "popular_with" else (code,))


def test_new_popular_and_taste():
    old = [(who, "OLD", f"o{who}", 1) for who in (1, 2)]
    rows = frame(
        [*old, (2, "NEW", "n", 150 - NEW_DAYS), (2, "LESS", "l", 1), (3, "BEST", "b", 149), (4, "BEST", "c", 149)]
    )
    assert reason_for(rows, 1, "NEW") == ("new",)
    assert reason_for(rows, 1, "LESS") == ("taste",)
    assert reason_for(rows, 1, "BEST") == ("new",)
    more = pd.concat([rows, frame([(9, "BEST", "d", 1)])])
    assert reason_for(more, 1, "BEST") == ("popular",)


@pytest.mark.parametrize("seed", range(4))
def test_facts_of_pairs_are_those_of_dense_tables(seed):
    random = np.random.default_rng(seed)
    customers, products = 12, 40
    times = random.integers(3, size=(customers, products)) * (random.random((customers, products)) < 0.3)
    owner, product_of = np.nonzero(times + (random.random(times.shape) < 0.1))  # some were returned in full
    start = np.searchsorted(owner, np.arange(customers + 1))
    baskets, buyers = (
        (random.integers(1, 4, (products, products)) * (random.random((products, products)) < share)).astype(np.float32)
        for share in (0.05, 0.3)
    )
    customer, product = np.sort(random.integers(customers, size=300)), random.integers(products, size=300)
    tables = [part for table in (baskets, buyers) for part in sparse_parts(sp.csr_array(table))]
    found = np.empty(300), np.empty(300, np.int64), np.empty(300, np.int64)
    kernels.facts_of_pairs(
        customer,
        product,
        start,
        product_of.astype(np.int32),
        times[owner, product_of].astype(np.int32),
        *tables,
        *found,
    )
    for who, what, count, goes_with, popular_with in zip(customer, product, *found, strict=True):
        assert count == times[who, what]
        near = [table[what] * (times[who] > 0) for table in (baskets, buyers)]  # argmax: ties by column
        first, second = (int(row.argmax()) if row.any() else -1 for row in near)
        assert goes_with == (first if count == 0 else -1)
        assert popular_with == (second if count == 0 and first < 0 else -1)


def test_only_lists_of_customers_have_reasons(model, shop):
    maker = ListMaker(model, shop, CUTOFF)
    assert maker.reasons(maker.products(3)).isna().all()
    nobody = next(iter(maker.customers(3))).iloc[:0]
    assert maker.reasons(nobody).empty
