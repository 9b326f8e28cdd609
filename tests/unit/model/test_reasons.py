"""Every reason is looked for in the purchases, counted here in another way: with sets, invoice by invoice."""

import json
from collections import Counter, defaultdict
from datetime import timedelta

import pandas as pd
import pytest

from ncf_pipeline.columns import Lists
from ncf_pipeline.model.events import encode, microseconds
from ncf_pipeline.model.lists import ListMaker
from ncf_pipeline.model.reasons import MIN_BASKETS, MIN_BUYERS, MIN_LIFT, NEW_DAYS, POPULAR_SHARE, Reasons
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.state import ShopState
from ncf_pipeline.splits import interactions_as_of

from .conftest import CUTOFF, frame


class Facts:
    """What the purchases say, before an instant, without what came back."""

    def __init__(self, interactions, at):
        known = interactions_as_of(interactions, at)
        self.invoices, self.buyers, self.times = defaultdict(set), defaultdict(set), defaultdict(set)
        for line in known[["customer_id", "stock_code", "invoice_no"]].itertuples(index=False):
            self.invoices[line.stock_code].add(line.invoice_no)
            if not pd.isna(line.customer_id):
                self.buyers[line.stock_code].add(line.customer_id)
                self.times[line.customer_id, line.stock_code].add(line.invoice_no)
        self.baskets, self.customers = known["invoice_no"].nunique(), known["customer_id"].nunique()
        self.first_sold = known.groupby("stock_code")["purchased_at"].min()
        late = known[known["purchased_at"] >= at - timedelta(days=28)]
        self.late_buyers = late.groupby("stock_code")["customer_id"].nunique().sort_values(ascending=False)
        self.at = at

    def bought(self, customer, product, count):
        return len(self.times[customer, product]) == count > 0

    def goes_with(self, customer, product, other):
        return self._together(self.invoices, self.baskets, product, other) >= MIN_BASKETS and self._owns(
            customer, product, other
        )

    def popular_with(self, customer, product, other):
        return self._together(self.buyers, self.customers, product, other) >= MIN_BUYERS and self._owns(
            customer, product, other
        )

    def new(self, customer, product):
        return self.first_sold[product] >= self.at - timedelta(days=NEW_DAYS)

    def popular(self, customer, product):
        places = max(1, len(self.first_sold) // POPULAR_SHARE)
        return self.late_buyers.get(product, 0) >= self.late_buyers.iloc[places - 1]

    def taste(self, customer, product):
        return not self.times[customer, product]

    def _owns(self, customer, product, other):
        return other != product and self.times[customer, other] and not self.times[customer, product]

    @staticmethod
    def _together(having, population, product, other):
        """How many have both; 0 where that is no more than chance."""
        both = len(having[product] & having[other])
        lift = both * population / (len(having[product]) * len(having[other]))
        return both if lift >= MIN_LIFT * (1 - 1e-5) else 0  # the tables are of single precision


def check_every_reason(lists, facts):
    counts = Counter()
    for row in lists.itertuples():
        reasons = json.loads(row.reasons)
        assert len(reasons) == len(row.stock_codes)
        for product, (code, *evidence) in zip(row.stock_codes, reasons, strict=True):
            assert getattr(facts, code)(int(row.key), product, *evidence), (row.key, row.list_name, product, code)
            counts[row.list_name, code] += 1
    return counts


def with_reasons(maker):
    return pd.concat([lists.assign(**{Lists.REASONS: maker.reasons(lists)}) for lists in maker.customers(10)])


def told(rows, customer, product, at=CUTOFF):
    state = ShopState(encode(rows, at), microseconds(at), Recipe())
    products = state.events.products.tolist()
    index = state.events.customers.tolist().index(customer)
    (reason,) = Reasons(state).of(
        pd.array([index]).to_numpy("int64"), pd.array([products.index(product)]).to_numpy("int64")
    )
    return reason


def test_every_reason_of_every_list_is_true(model, shop):
    lists = with_reasons(ListMaker(model, shop, CUTOFF))
    counts = check_every_reason(lists, Facts(shop, CUTOFF))
    assert {code for _, code in counts} >= {"bought", "goes_with", "popular_with"}
    assert {code for name, code in counts if name == "buy_again"} == {"bought"}
    assert ("discover", "bought") not in counts


def test_bought_counts_invoices_without_those_that_came_back():
    rows = frame([(1, "A", "1", 10), (1, "A", "1", 10), (1, "A", "2", 20), (1, "A", "3", 30, 40), (1, "A", "4", 151)])
    assert told(rows, 1, "A") == ("bought", 2)


# Ten baskets. A and B: 4 of A's 4 and of B's 5, lift 4 * 10 / (4 * 5) = 2. S is in all: lift 1 with anything.
BASKETS = ["ABS", "ABS", "ABS", "ABS", "BS", "S", "S", "S", "SC", "SC"]


def guests(baskets):
    return [(None, code, f"G{number}", number) for number, basket in enumerate(baskets) for code in basket]


def test_what_goes_with_a_product_shares_baskets_more_often_than_by_chance():
    rows = guests(BASKETS)
    assert told(frame([*rows, (1, "A", "X", 50)]), 1, "B") == ("goes_with", "A")
    assert told(frame([*rows, (1, "S", "X", 50)]), 1, "B")[0] != "goes_with"  # a best seller goes with nothing
    assert told(frame([*rows, (1, "C", "X", 50)]), 1, "S")[0] != "goes_with"  # twice is no pattern
    assert told(frame([*rows, (1, "A", "X", 50, 60), (1, "C", "Y", 50)]), 1, "B")[0] != "goes_with"  # it came back


@pytest.mark.parametrize(("buyers", "code"), [(MIN_BUYERS, "popular_with"), (MIN_BUYERS - 1, "taste")])
def test_popular_with_buyers_of_what_was_bought_on_other_days(buyers, code):
    both = [line for who in range(10, 10 + buyers) for line in ((who, "A", f"a{who}", 1), (who, "B", f"b{who}", 2))]
    rest = [(who, f"Z{product}", f"z{who}", 90 + product) for who in range(40, 60) for product in range(25)]
    reason = told(frame([*both, *rest, (1, "A", "X", 50)]), 1, "B")
    assert reason == ((code, "A") if code == "popular_with" else (code,))


def test_new_and_popular_and_the_network_alone():
    old = [(who, "OLD", f"o{who}", 1) for who in (1, 2)]
    rows = frame(
        [*old, (2, "NEW", "n", 150 - NEW_DAYS), (2, "LESS", "l", 1), (3, "BEST", "b", 149), (4, "BEST", "c", 149)]
    )
    assert told(rows, 1, "NEW") == ("new",)
    assert told(rows, 1, "LESS") == ("taste",)
    assert told(rows, 1, "BEST") == ("new",)
    more = pd.concat([rows, frame([(9, "BEST", "d", 1)])])
    assert told(more, 1, "BEST") == ("popular",)


def test_only_customers_lists_have_reasons(model, shop):
    maker = ListMaker(model, shop, CUTOFF)
    assert maker.reasons(maker.products(3)).isna().all()
    nobody = next(iter(maker.customers(3))).iloc[:0]
    assert maker.reasons(nobody).empty
