from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from planted import CODE, CUSTOMER, RHYTHM, with_replenishment
from shop_with_tastes import START, frame, make_shop

from ncf_pipeline.columns import Interactions
from ncf_pipeline.evaluation.reliability import share_interval
from ncf_pipeline.model.features import state
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.due import Rhythm, median_of
from ncf_pipeline.model.recipe import Recipe


def rhythm_of(events, at):
    return Rhythm(ShopState(events, microseconds(at), Recipe()))


def asked(shop, day, keys):
    """Days from a day until each (customer, code) is due."""
    at = START + timedelta(days=day)
    events = encode(shop, at)
    customer = events.index_of([str(customer) for customer, _ in keys])
    product = np.searchsorted(events.products, [code for _, code in keys])
    return rhythm_of(events, at).days_until_due(customer, product)


@pytest.mark.parametrize(
    ("watched", "came_back", "median"),
    [
        ([1, 2, 3, 4], [1, 1, 1, 1], 2),
        ([1, 1, 1, 9], [1, 1, 1, 0], 1),
        ([5, 5, 5, 5], [0, 0, 0, 0], np.nan),
        ([2, 3, 4], [0, 1, 1], 3),  # one of the two who were still watched
        ([1, 2, 3, 4, 5], [1, 0, 0, 0, 0], np.nan),
        ([7], [1], 7),
    ],
)
def test_the_median_with_open_ends_by_hand(watched, came_back, median):
    assert median_of(np.array(watched, float), np.array(came_back, bool)) == pytest.approx(median, nan_ok=True)


def test_the_median_is_right_although_most_are_watched_for_too_short_a_time():
    random = np.random.default_rng(0)
    truth, until = random.exponential(10, 20_000), random.uniform(0, 12, 20_000)
    assert median_of(np.minimum(truth, until), truth <= until) == pytest.approx(10 * np.log(2), rel=0.05)


def regular(gap, customers=200, days=200, products=2):
    """Customers who buy a product every so many days; each began on another day."""
    return frame(
        (customer, f"P{customer % products}", f"{customer}-{day}", day)
        for customer in range(customers)
        for day in range(customer % gap, days, gap)
    )


@pytest.mark.parametrize("gap", [10, 30])
def test_a_product_of_a_steady_rhythm_is_due_when_its_gap_is_over(gap):
    shop = regular(gap)
    day = 180
    keys = [(customer, f"P{customer % 2}") for customer in range(200)]
    due = asked(shop, day, keys)
    since = (day - 1 - np.arange(200) % gap) % gap + 1  # days since the last purchase, from 1 to the gap
    early = since < gap  # no customer ever waited longer
    assert np.isfinite(due[early]).all()
    assert np.abs(due - (gap - since))[early].max() <= 0.25 * gap  # the width of a group


def test_what_half_of_the_customers_never_buy_again_is_never_due():
    rows = [(customer, "ONCE", f"{customer}", customer % 60) for customer in range(400)]
    rows += [(customer, "ONCE", f"{customer}b", customer % 60 + 20) for customer in range(0, 400, 4)]
    due = asked(frame(rows), 150, [(customer, "ONCE") for customer in range(400)])
    assert np.isnan(due).all()


def test_nothing_is_due_that_was_never_bought_or_was_returned_and_nothing_in_a_small_shop():
    shop = pd.concat([regular(10), frame([(7, "P0", "R", 3, 5)])])
    assert np.isnan(asked(shop, 180, [(7, "P0"), (8, "P1")])).all()  # 7 buys P1 and took P0 back; 8 buys P0
    assert np.isnan(asked(frame([(1, "A", "I1", 0)]), 1, [(1, "A")])).all()
    assert np.isnan(asked(frame([(1, "A", f"I{day}", day) for day in range(0, 90, 10)]), 91, [(1, "A")])).all()
    guests = encode(frame([(None, "A", "I1", 0)]), START + timedelta(days=1))
    assert len(rhythm_of(guests, START + timedelta(days=1)).days_until_due(*[np.zeros(0, int)] * 2)) == 0


def test_later_purchases_and_returns_change_nothing():
    shop = regular(10)
    at = START + timedelta(days=150)
    known = shop[shop[Interactions.PURCHASED_AT] < at]
    later = shop.assign(returned_at=pd.Series(START + timedelta(days=170), index=shop.index).astype("datetime64[us]"))
    keys = [(customer, f"P{customer % 2}") for customer in range(50)]
    np.testing.assert_array_equal(asked(known, 150, keys), asked(later, 150, keys))


@pytest.fixture(scope="module")
def planted():
    return with_replenishment(make_shop(customers=300, days=280))


def after(shop, day, keys):
    """Days from a day until each (customer, code) is bought; infinite if it is not."""
    at = START + timedelta(days=day)
    later = shop[(shop[Interactions.PURCHASED_AT] >= at) & shop[Interactions.CUSTOMER_ID].notna()]
    first = later.groupby([Interactions.CUSTOMER_ID, Interactions.STOCK_CODE])[Interactions.PURCHASED_AT].min()
    found = ((first.dt.normalize() - at) / pd.Timedelta(days=1)).to_dict()
    return np.array([found.get(key, np.inf) for key in keys])


@pytest.mark.parametrize("day", [196, 224])
def test_half_have_bought_again_by_the_day_on_holdouts_of_the_planted_shop(planted, day):
    shop, _ = planted
    before = shop[(shop[Interactions.PURCHASED_AT] < START + timedelta(days=day)) & shop[CUSTOMER].notna()]
    keys = list(before.groupby([CUSTOMER, CODE]).size().loc[lambda times: times >= 3].index)
    due = asked(shop, day, keys)
    inside = due < 28
    came = after(shop, day, keys)[inside] <= due[inside]
    low, high = share_interval(came, np.unique([who for who, _ in keys], return_inverse=True)[1][inside])
    assert inside.sum() > 400
    assert low - 0.03 < 0.5 < high + 0.03
    assert high - low < 0.15


def test_customers_at_a_time_teach_the_same(planted, monkeypatch):
    until = START + timedelta(days=250)
    events = encode(planted[0], until)
    whole = rhythm_of(events, until)
    customer, product = np.divmod(np.arange(len(events.customers) * len(events.products)), len(events.products))
    for most in (1, 1000):
        monkeypatch.setattr(state, "EVENTS_AT_ONCE", most)
        rhythm = rhythm_of(events, until)
        for name in ("days", "first", "visits", "first_visit", "last_visit", "product_gap", "first_day"):
            assert np.array_equal(getattr(rhythm, name), getattr(whole, name)), name
        assert np.array_equal(rhythm.medians, whole.medians, equal_nan=True)
        assert rhythm.due_on(customer, product) == whole.due_on(customer, product)


def test_planted_rhythms_are_found(planted):
    shop, truth = planted
    day = 224
    before = shop[shop[Interactions.PURCHASED_AT] < START + timedelta(days=day)]
    last = before.groupby([CUSTOMER, CODE])[Interactions.PURCHASED_AT].agg(["max", "size"])
    staples = truth.set_index([CUSTOMER, CODE])[RHYTHM].to_frame().join(last, how="inner")
    staples = staples[staples["size"] >= 3]
    since = (START + timedelta(days=day) - staples["max"]) / pd.Timedelta(days=1)
    due = asked(shop, day, list(staples.index))
    missed = np.abs(due + since - staples[RHYTHM]) / staples[RHYTHM]
    assert np.isfinite(due).mean() > 0.9
    assert missed.median() < 0.2
