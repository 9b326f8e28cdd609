"""Shops for the features of habits: lines by hand or by chance, and a slow account of them in plain Python."""

from collections import defaultdict
from itertools import pairwise
from math import log, log1p, sqrt
from statistics import mean, pstdev

import numpy as np
from shop_with_tastes import frame

YEAR = 365.0

# (customer or None, code, invoice, day, pieces, price, day of return or None)
LEDGER = [
    (7, "85123A", "1", 0, 6, 2.0, None),
    (7, "85123A", "1", 0, 6, 4.0, None),  # a second line: together 12 pieces at a mean price of 3
    (7, "22423", "1", 0, 1, 10.0, None),
    (7, "85123A", "2", 20, 12, 3.0, None),
    (7, "85123A", "3", 50, 48, 2.5, None),
    (7, "85123B", "3", 50, 4, 3.0, None),
    (7, "POST", "3", 50, 1, 5.0, 60),  # returned
    (7, "WOOL", "3", 50, 0.25, 8.0, None),
    (8, "85123B", "4", 10, 2, 3.0, None),
    (8, "85123B", "5", 40, 2, 3.0, None),
    (8, "22423", "5", 40, 2, 10.0, 95),  # its return is not known yet
    (8, "85123B", "6", 40, 1, 3.0, None),  # at the same time as the invoice before
    (9, "22423", "7", 85, 3, 12.0, None),
    (9, "WOOL", "7", 85, 2.5, 8.0, None),
    (10, "POST", "8", 30, 1, 5.0, 70),  # a customer who returned everything
    (None, "85123A", "9", 80, 3, 3.5, None),
    (None, "POST", "10", 88, 1, 6.0, None),
    (8, "85123A", "11", 95, 9, 1.0, None),  # after the instant
    (8, "85123C", "11", 95, 9, 1.0, None),
]
DAY_OF_LEDGER = 90


def interactions_of(lines):
    """The interactions of lines as in `LEDGER`."""
    table = frame([(*line[:4], *([] if line[6] is None else [line[6]])) for line in lines])
    return table.assign(quantity=[float(line[4]) for line in lines], unit_price=[float(line[5]) for line in lines])


def random_lines(seed, *, customers=12, days=200):
    """Lines of customers with a rhythm, of guests, with returns, families, ties and fractions."""
    random = np.random.default_rng(seed)
    codes = ["10001A", "10001B", "10001C", "10002", "10003A", "10003B", "WOOL", "X-1", "X-2", "10004"]
    lines, invoice = [], 0
    for number in range(customers):
        favourites = random.choice(codes, 3, replace=False)
        day = int(random.integers(0, 60))
        while day < days:
            invoice += 1
            guest = random.random() < 0.15
            for code in {*random.choice(favourites, 2), *random.choice(codes, int(random.integers(0, 3)))}:
                for _ in range(1 + (random.random() < 0.2)):
                    pieces = float(random.choice([0.5, 1, 2, 12, 144]))
                    returned = day + int(random.integers(0, 40)) if random.random() < 0.15 else None
                    lines.append(
                        (
                            None if guest else 100 + number,
                            code,
                            f"{invoice:05d}",
                            day,
                            pieces,
                            round(1 + random.random(), 2),
                            returned,
                        )
                    )
            day += int(random.choice([0, 7, 14, 28, 45]))
    return lines


class Account:
    """What lines say at the beginning of a day, counted one by one.

    Attributes:
        bought: (customer or None, code, invoice, day, pieces, price) of each product on each invoice that was not
            returned, in order of time.
    """

    def __init__(self, lines, day):
        self.day = day
        lines_of = defaultdict(list)
        for customer, code, invoice, on, pieces, price, returned in lines:
            if on < day:
                back = returned is not None and returned < day
                lines_of[customer, code, invoice, on].append((pieces, price, back))
        self.ever = list(lines_of)
        self.bought = sorted(
            (
                (*key, sum(pieces for pieces, _, _ in rows), mean(price for _, price, _ in rows))
                for key, rows in lines_of.items()
                if not all(back for _, _, back in rows)
            ),
            key=lambda purchase: (purchase[3], purchase[2], purchase[1]),
        )
        self.codes = sorted({code for _, code, *_ in self.bought})
        self.customers = sorted({who for who, *_ in self.bought if who is not None})
        self._of = defaultdict(list)
        for purchase in self.bought:
            who, code, *_ = purchase
            for key in [] if who is None else [(who, code), (who, None), (None, code), (None, None)]:
                self._of[key].append(purchase)
        # Days between two purchases of a product by the same customer.
        self.gaps = {code: [gap for who in self.customers for gap in self.gaps_of(who, code)] for code in self.codes}
        sizes = {who: len(self.of(who)) / len(self.invoices(who)) for who in self.customers}
        numbers = {who: len(self.invoices(who)) for who in self.customers}
        self.segment = {
            who: 3 * third(sizes[who], sizes.values()) + third(numbers[who], numbers.values()) for who in self.customers
        }

    def of(self, who=None, code=None):
        """Purchases of a known customer, of a product by known customers, or of both, in order of time."""
        return self._of[who, code]

    def invoices(self, who):
        """(day, number) of a customer's invoices, in order of time."""
        return sorted({(on, invoice) for _, _, invoice, on, *_ in self.of(who)})

    def gaps_of(self, who, code):
        """Days between a customer's purchases of a product."""
        return [later - earlier for earlier, later in pairwise(on for _, _, _, on, *_ in self.of(who, code))]

    def usual_gap(self, code):
        gaps = [gap for gaps in self.gaps.values() for gap in gaps]
        overall = mean(gaps) if gaps else YEAR / 4
        return (sum(self.gaps[code]) + 5 * overall) / (len(self.gaps[code]) + 5)

    def last_price(self, code):
        return [price for _, product, _, _, _, price in self.bought if product == code][-1]

    def pair(self, who, code):
        """The features of a customer and a product that the customer bought and did not return."""
        purchases, invoices = self.of(who, code), [number for _, number in self.invoices(who)]
        days = [on for _, _, _, on, *_ in purchases]
        gaps = self.gaps_of(who, code)
        usual = self.usual_gap(code)
        expected = (sum(gaps) + 2 * usual) / (len(gaps) + 2)
        pieces = [purchase[4] for purchase in purchases]
        relative = pieces[-1] / mean(pieces)
        having = [purchase[2] for purchase in purchases]
        streak = 0
        while streak < len(invoices) and invoices[-1 - streak] in having:
            streak += 1
        return {
            "due": due(self.day - days[-1], expected),
            "due_by_product": due(self.day - days[-1], usual),
            "due_by_quantity": due(self.day - days[-1], expected * clip(relative, 0.25, 4)),
            "gap_spread": clip(pstdev(gaps) / (expected + 3), 0, 4) if len(gaps) > 1 else 1.0,
            "in_last_3": mean(number in having for number in invoices[-3:]),
            "in_last_5": mean(number in having for number in invoices[-5:]),
            "streak": log1p(streak),
            "times_28": log1p(sum(self.day - on <= 28 for on in days)),
            "times_91": log1p(sum(self.day - on <= 91 for on in days)),
            "last_quantity": log1p(pieces[-1]),
            "last_quantity_relative": clip(log(relative), -4, 4),
            "price_change": clip(log((self.last_price(code) + 0.1) / (purchases[-1][5] + 0.1)), -4, 4),
        }

    def product(self, code):
        """The features of a product that was sold."""
        over, again = defaultdict(int), defaultdict(int)
        for who in self.customers:
            for product in self.codes:
                days = [on for _, _, _, on, *_ in self.of(who, product)]
                for place, on in enumerate(days):
                    if self.day - on >= 28:
                        over[product] += 1
                        again[product] += place + 1 < len(days) and days[place + 1] - on <= 28
        rate = sum(again.values()) / max(sum(over.values()), 1)
        sold = [purchase for purchase in self.bought if purchase[1] == code]
        ever = sum(product == code for _, product, *_ in self.ever)
        returned = 1 - len(self.bought) / len(self.ever)
        age = [self.day - on for _, _, _, on, *_ in sold]
        first = recent = 0
        for who in self.customers:
            for place, purchase in enumerate(self.of(who, code)):
                recent += self.day - purchase[3] <= 28
                first += self.day - purchase[3] <= 28 and place == 0
        new = [purchase[5] for purchase in sold if self.day - purchase[3] <= 28]
        old = [purchase[5] for purchase in sold if self.day - purchase[3] > 28]
        return {
            "usual_gap": log1p(self.usual_gap(code)),
            "rebuy_28": sqrt((again[code] + 10 * rate) / (over[code] + 10)),
            "returned_share": sqrt((ever - len(sold) + 20 * returned) / (ever + 20)),
            "pieces_per_line": log1p(mean(purchase[4] for purchase in sold)),
            "sales_14_trend": log((sum(a <= 14 for a in age) / 2 + 0.5) / (sum(a <= 28 for a in age) / 4 + 0.5)),
            "first_time_share": (first + 5) / (recent + 10),
            "price_trend": clip(log((mean(new) + 0.1) / (mean(old) + 0.1)), -4, 4) if new and old else 0.0,
        }

    def customer(self, who):
        """The features of a customer with an invoice."""
        invoices, purchases = self.invoices(who), self.of(who)
        gaps = [later - earlier for (earlier, _), (later, _) in pairwise(invoices)]
        last = [code for _, code, invoice, *_ in purchases if invoice == invoices[-1][1]]
        return {
            "visit_due": due(self.day - invoices[-1][0], (sum(gaps) + 60) / (len(gaps) + 1)),
            "last_gap": log1p(gaps[-1] if gaps else YEAR),
            "last_basket_size": log1p(len(last)),
            "last_new_share": mean(len(self.of(who, code)) == 1 for code in last),
            "customer_pieces": log1p(mean(purchase[4] for purchase in purchases)),
            "spend": log1p(sum(purchase[4] * purchase[5] for purchase in purchases) / len(invoices)),
            "usual_popularity": mean(
                log1p(sum(code == product for _, code, *_ in self.bought)) for _, product, *_ in purchases
            ),
        }

    def family(self, who, code):
        """The features of a customer and any product that was sold, by the family of its code."""
        family = [other for other in self.codes if stem(other) == stem(code)]
        days = [purchase[3] for purchase in self.of(who) if purchase[1] in family]
        return {
            "family_times": log1p(sum(len(self.of(who, other)) for other in family if other != code)),
            "days_since_family": log1p(self.day - max(days) if days else YEAR),
            "family_size": log1p(len(family) - 1),
        }

    def segment_share(self, who, code):
        """How much more often the customer's segment bought the product within 28 days than all customers."""
        recent = defaultdict(set)
        for customer, product, _, on, *_ in self.of():
            if self.day - on <= 28:
                recent[customer].add(product)
        peers = [other for other in recent if self.segment[other] == self.segment[who]]
        overall = sum(code in products for products in recent.values()) / max(len(recent), 1)
        share = (sum(code in recent[other] for other in peers) + 20 * overall) / (len(peers) + 20)
        return log((share + 1e-3) / (overall + 1e-3))


def due(days, expected):
    return clip(log((days + 3) / (expected + 3)), -4, 4)


def clip(value, low, high):
    return min(max(value, low), high)


def stem(code):
    short = code.rstrip("ABC")
    return short if short[-1:].isdigit() else code


def third(value, values):
    """0, 1 or 2: how many of the two bounds between thirds are below the value. Bounds are interpolated."""
    ordered = sorted(values)

    def bound(share):
        place = share * (len(ordered) - 1)
        low = int(place)
        return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])

    return sum(bound(share) < value for share in (1 / 3, 2 / 3))
