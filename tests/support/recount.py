"""Counts reasons again from the purchases, in another way than the package: with sets, invoice by invoice."""

import json
from collections import Counter, defaultdict
from datetime import timedelta

import pandas as pd

from ncf_pipeline.columns import Lists
from ncf_pipeline.evaluation.splits import interactions_as_of
from ncf_pipeline.model.lists.reasons import MIN_BASKETS, MIN_BUYERS, MIN_LIFT, NEW_DAYS, POPULAR_SHARE


class Facts:
    """What the purchases before an instant say, without returned ones.

    Each method named after a reason's code tells whether that reason is true of a customer and a product.
    """

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
        """How many have both products; 0 if that is not `MIN_LIFT` times more than by chance."""
        both = len(having[product] & having[other])
        lift = both * population / (len(having[product]) * len(having[other]))
        return both if lift >= MIN_LIFT * (1 - 1e-5) else 0  # the package computes in single precision


def check_every_reason(lists, facts):
    """Fails at the first reason that is not true; returns the number of reasons by (list name, code)."""
    counts = Counter()
    for row in lists.itertuples():
        reasons = json.loads(row.reasons)
        assert len(reasons) == len(row.stock_codes)
        for product, (code, *evidence) in zip(row.stock_codes, reasons, strict=True):
            assert getattr(facts, code)(int(row.key), product, *evidence), (row.key, row.list_name, product, code)
            counts[row.list_name, code] += 1
    return counts


def with_reasons(maker, **chosen):
    """Lists of ten with their reasons, of all customers or those chosen by the arguments of `ListMaker.customers`."""
    return pd.concat([lists.assign(**{Lists.REASONS: maker.reasons(lists)}) for lists in maker.customers(10, **chosen)])
