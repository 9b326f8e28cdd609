from dataclasses import fields
from datetime import timedelta

import numpy as np
import pandas as pd
from shop_with_tastes import START, frame, make_shop

from ncf_pipeline.model.features.events import DAY, Events, encode, microseconds, pair_codes, rows_of
from ncf_pipeline.model.features.state import Pairs, ShopState
from ncf_pipeline.model.recipe import Recipe


def test_lines_of_one_invoice_with_the_same_product_are_one_event():
    events = encode(frame([(7, "A", "1", 0), (7, "A", "1", 0), (7, "B", "1", 0)]), START + timedelta(days=1))
    assert list(events.products[events.product]) == ["A", "B"]
    assert list(events.quantity) == [4, 2]
    assert list(events.price) == [1.5, 1.5]


def test_nothing_from_the_cutoff_on_is_encoded_not_even_an_id():
    events = encode(frame([(7, "A", "1", 0), (8, "B", "2", 5)]), START + timedelta(days=5))
    assert list(events.customers) == ["7"]
    assert list(events.products) == ["A"]


def test_a_return_counts_only_once_it_has_happened():
    rows = frame([(7, "A", "1", 0, 3), (7, "B", "1", 0, 9)])
    events = encode(rows, START + timedelta(days=9))
    third = microseconds(START + timedelta(days=3))
    assert list(events.returned) == [0]
    assert list(events.returned_at) == [third]
    assert list(events.alive(third)) == [True, True]
    assert list(events.alive(third + 1)) == [False, True]


def test_no_column_of_events_or_pairs_is_wider_than_it_must_be(shop):
    """A large shop has tens of millions of each: with 64 bits for all of them, they would fill half of the memory."""
    events = encode(shop, START + timedelta(days=60))
    pairs = ShopState(events, microseconds(START + timedelta(days=60)), Recipe()).pairs
    columns = (events.customer, events.product, events.invoice, events.time, events.quantity, events.price)
    assert sum(column.nbytes for column in columns) == 36 * len(events)
    every = [getattr(pairs, each.name) for each in fields(Pairs) if each.name != "start"]
    assert sum(column.nbytes for column in every) == 33 * len(pairs.product)


def test_a_number_of_a_customer_and_a_product_has_64_bits():
    """Customers times products are more than 32 bits have."""
    customer, product = np.array([70_000], np.int32), np.array([5], np.int32)
    assert pair_codes(customer, product, 70_000).tolist() == [70_000 * 70_000 + 5]


def test_guests_have_no_customer():
    events = encode(frame([(None, "A", "1", 0), (7, "A", "2", 1)]), START + timedelta(days=9))
    assert list(events.customer) == [-1, 0]
    assert list(events.customers) == ["7"]


def test_customers_are_in_the_order_of_numbers_and_found_by_their_ids():
    """So what was learned from numbers is learned from the same numbers as text."""
    ids = ["zoë x/y:%😀@example.com", "10", "9", "C-1001", "017850", "17850", "a@example.com"]
    rows = [(None, "A", "0", 0), *((customer, "A", customer, 1) for customer in ids)]
    events = encode(frame(rows), START + timedelta(days=9))
    in_order = ["9", "10", "17850", "017850", "C-1001", "a@example.com", "zoë x/y:%😀@example.com"]
    assert list(events.customers) == in_order
    assert sorted(events.customers[events.customer[1:]]) == sorted(ids)
    assert events.customer[0] == -1
    assert list(events.index_of(["17850", "nobody", "9"])) == [2, -1, 0]


def test_a_customer_has_an_entry_for_each_country_that_their_invoices_change_to():
    rows = frame(
        [(7, "A", "1", 0), (8, "A", "2", 1), (None, "A", "3", 2), (7, "B", "4", 3), (7, "A", "5", 4), (7, "A", "6", 5)]
    )
    countries = ["Spain", "France", "Eire", "Spain", "France", "Spain"]
    events = encode(rows.assign(country=countries), START + timedelta(days=9))
    days = (events.resident_since - microseconds(START)) // DAY
    names = [events.countries[index] for index in events.resident_in]
    assert list(zip(events.customers[events.resident], names, days, strict=True)) == [
        ("7", "Spain", 0),
        ("8", "France", 1),
        ("7", "France", 4),
        ("7", "Spain", 5),
    ]


def test_the_order_of_rows_does_not_matter(shop):
    cutoff = START + timedelta(days=100)
    one, other = encode(shop, cutoff), encode(shop.sample(frac=1, random_state=1), cutoff)
    for name in ("customers", "products", "customer", "product", "invoice", "time", "returned", "quantity", "resident"):
        assert (getattr(one, name) == getattr(other, name)).all(), name


def test_an_empty_shop_encodes_to_nothing():
    assert len(encode(frame([]), START)) == 0


def test_unknown_values_have_row_zero():
    assert list(rows_of(["A", "C"], ["C", "B", "A"])) == [2, 0, 1]
    assert list(rows_of(["5", "9"], ["9", "4"])) == [2, 0]


def test_parts_by_customer_make_the_events_of_the_whole():
    whole = make_shop(customers=25, days=90)
    random = np.random.default_rng(3)
    country = random.choice(["Spain", "Österreich", None], len(whole))
    returned = whole["purchased_at"] + pd.to_timedelta(random.integers(0, 40, len(whole)), unit="D")
    whole = whole.assign(
        country=pd.Series(country, dtype="str"),
        quantity=random.random(len(whole)),
        unit_price=random.random(len(whole)),
        returned_at=returned.where(random.random(len(whole)) < 0.1),
        # one invoice has lines of many customers and of guests
        invoice_no=whole["invoice_no"].where(random.random(len(whole)) > 0.05, "É7"),
        description=whole["description"].where(random.random(len(whole)) > 0.1),
    )
    whole = pd.concat([whole, whole.iloc[::7]], ignore_index=True).sort_values("purchased_at", kind="stable")
    part = whole["customer_id"].fillna(whole["invoice_no"]).map(lambda key: sum(key.encode()) % 4)
    for days in (0, 50, 200):
        until = START + timedelta(days=days)
        expected = encode(whole, until)
        made = encode((whole[part == number] for number in range(5)), until)  # the last is empty
        for field in fields(Events):
            one, other = getattr(expected, field.name), getattr(made, field.name)
            if field.name != "looks":
                np.testing.assert_array_equal(one, other, err_msg=field.name)
                assert getattr(one, "dtype", None) == getattr(other, "dtype", None), field.name
