"""Counts reasons and scores again from the purchases, in another way than the package: with sets, line by line."""

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

    def best_seller(self, customer, product):
        return self.taste(customer, product)

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
            assert getattr(facts, code)(row.key, product, *evidence), (row.key, row.list_name, product, code)
            counts[row.list_name, code] += 1
    return counts


def with_reasons(maker, **chosen):
    """Lists of ten with their reasons, of all customers or those chosen by the arguments of `ListMaker.customers`."""
    return pd.concat([lists.assign(**{Lists.REASONS: maker.reasons(lists)}) for lists in maker.customers(10, **chosen)])


def best_sellers_shown(interactions, at, country):
    """What a storefront shows an unknown customer of a country: most invoices of the last 28 days, then of all, there;
    then the same everywhere. An unknown country has the list of everywhere."""
    known = [line for line in interactions.itertuples() if line.purchased_at < at and not line.returned_at < at]
    places = [lambda line: line.country == country, lambda _: True]
    if not any(places[0](line) for line in known):
        places = places[1:]
    shown = []
    for is_here in places:
        for days in (28, 10_000):
            invoices = defaultdict(set)
            for line in known:
                if is_here(line) and line.purchased_at >= at - timedelta(days=days):
                    invoices[line.stock_code].add(line.invoice_no)
            ranked = sorted(invoices, key=lambda code: (-len(invoices[code]), code))
            shown += [code for code in ranked if code not in shown]
    return shown


def precisions_seen(interactions, start, end, own_lists, k, *, new_only):
    """Precision@k of what each buyer was shown: the own list if known before `start`, else their country's fallback.

    Returns `(customer, whether known, precision)` for each customer who bought something that the question asks for.
    """
    rows = sorted(interactions.itertuples(), key=lambda line: (line.purchased_at, line.invoice_no))
    rows = [line for line in rows if not pd.isna(line.customer_id)]
    seen = []
    for customer in sorted({line.customer_id for line in rows}):
        mine = [line for line in rows if line.customer_id == customer]
        held = [line for line in mine if start <= line.purchased_at < end and not line.returned_at < end]
        earlier = {line.stock_code for line in mine if line.purchased_at < start}
        bought = {line.stock_code for line in held} - (earlier if new_only else set())
        known = any(line.purchased_at < start and not line.returned_at < start for line in mine)
        if bought:
            fallback = best_sellers_shown(interactions, start, held[0].country)
            shown = own_lists.get(customer, []) if known else fallback
            seen.append((customer, known, len(bought & set(shown[:k])) / k))
    return seen
