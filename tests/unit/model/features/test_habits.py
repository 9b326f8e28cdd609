from datetime import timedelta

import numpy as np
import pytest
from ledgers import DAY_OF_LEDGER, LEDGER, Account, interactions_of, random_lines
from shop_with_tastes import START

from ncf_pipeline.model import families as families_module
from ncf_pipeline.model.features.contexts import ContextMaker
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.habits import SEGMENTS, segments
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.features.tables import CUSTOMER, FEATURES, PAIR, PRODUCT
from ncf_pipeline.model.recipe import Recipe

ALL = Recipe(popular_candidates=1000)
"""Every product that was sold is a candidate."""


def state_of(lines, day, until=300):
    events = encode(interactions_of(lines), START + timedelta(days=until))
    return ShopState(events, microseconds(START + timedelta(days=day)), ALL)


def features_of(state):
    """{feature: value} of each (customer, code), for all known customers and all products that were sold."""
    events, rows = state.events, {}
    for contexts in ContextMaker(state).contexts(state.known_customers):
        owner = np.repeat(contexts.customer, np.diff(contexts.start))
        for who, product, values in zip(owner, contexts.product, contexts.features[:].astype(float), strict=True):
            rows[int(events.customers[who]), str(events.products[product])] = dict(
                zip(FEATURES, values.tolist(), strict=True)
            )
    return rows


@pytest.fixture(scope="module")
def by_hand():
    return features_of(state_of(LEDGER, DAY_OF_LEDGER))


# Gaps of the shop: 20 and 30 days (85123A), 30 and 0 days (85123B), so 20 on average.
USUAL_A = (20 + 30 + 5 * 20) / (2 + 5)
USUAL_B = (30 + 0 + 5 * 20) / (2 + 5)
EXPECTED_A = (20 + 30 + 2 * USUAL_A) / (2 + 2)


@pytest.mark.parametrize(
    ("who", "code", "name", "expected"),
    [
        (7, "85123A", "due", np.log(43 / (EXPECTED_A + 3))),  # bought on days 0, 20 and 50
        (7, "85123A", "due_by_product", np.log(43 / (USUAL_A + 3))),
        (7, "85123A", "due_by_quantity", np.log(43 / (2 * EXPECTED_A + 3))),  # 48 pieces; the mean is 24
        (7, "85123A", "gap_spread", 5 / (EXPECTED_A + 3)),
        (7, "22423", "due", np.log(93 / 23)),  # nobody bought it twice: the shop's mean gap
        (7, "22423", "gap_spread", 1.0),
        (9, "85123A", "due", np.log(4)),  # never bought
        (7, "85123A", "in_last_3", 1.0),
        (7, "22423", "in_last_3", 1 / 3),
        (8, "22423", "in_last_5", 1 / 3),  # of three invoices
        (7, "85123A", "streak", np.log1p(3)),
        (7, "22423", "streak", 0.0),
        (8, "22423", "streak", 0.0),  # not on the last of two invoices of the same minute
        (7, "85123A", "times_28", 0.0),
        (7, "85123A", "times_91", np.log1p(3)),
        (9, "22423", "times_28", np.log1p(1)),
        (7, "85123A", "last_quantity", np.log1p(48)),
        (7, "85123A", "last_quantity_relative", np.log(2)),
        (7, "WOOL", "last_quantity", np.log1p(0.25)),
        (7, "WOOL", "last_quantity_relative", 0.0),
        (7, "85123A", "price_change", np.log(3.6 / 2.6)),  # a guest has paid 3.5
        (9, "85123A", "usual_gap", np.log1p(USUAL_A)),
        (9, "85123B", "usual_gap", np.log1p(USUAL_B)),
        # Ten purchases are 28 days old. Two were repeated within 28 days: 85123A once, 85123B at once.
        (9, "85123A", "rebuy_28", np.sqrt((1 + 10 * 0.2) / (3 + 10))),
        (9, "22423", "rebuy_28", np.sqrt(10 * 0.2 / (2 + 10))),
        # 16 purchases, two returned: both are POST, of three.
        (9, "POST", "returned_share", np.sqrt((2 + 20 * 2 / 16) / (3 + 20))),
        (9, "85123A", "returned_share", np.sqrt((20 * 2 / 16) / (4 + 20))),
        (9, "85123A", "pieces_per_line", np.log1p((12 + 12 + 48 + 3) / 4)),
        (9, "85123A", "sales_14_trend", np.log((1 / 2 + 0.5) / (1 / 4 + 0.5))),
        (9, "WOOL", "first_time_share", (1 + 5) / (1 + 10)),
        (9, "POST", "first_time_share", 0.5),  # a guest's is not counted
        (9, "22423", "price_trend", np.log(12.1 / 10.1)),
        (9, "85123A", "price_trend", np.log(3.6 / ((3 + 3 + 2.5) / 3 + 0.1))),
        (9, "85123B", "price_trend", 0.0),
        (7, "85123A", "visit_due", np.log(43 / ((20 + 30 + 60) / 3 + 3))),
        (9, "85123A", "visit_due", np.log(8 / 63)),
        (7, "85123A", "last_gap", np.log1p(30)),
        (8, "85123A", "last_gap", 0.0),
        (9, "85123A", "last_gap", np.log1p(365)),
        (7, "85123A", "last_basket_size", np.log1p(3)),  # without what was returned
        (7, "85123A", "last_new_share", 2 / 3),
        (8, "85123A", "last_basket_size", np.log1p(1)),
        (8, "85123A", "last_new_share", 0.0),
        (9, "85123A", "customer_pieces", np.log1p((3 + 2.5) / 2)),
        (7, "85123A", "spend", np.log1p((36 + 10 + 36 + 120 + 12 + 2) / 3)),
        (9, "85123A", "usual_popularity", (np.log1p(3) + np.log1p(2)) / 2),
        (7, "85123B", "family_times", np.log1p(3)),
        (7, "85123A", "family_times", np.log1p(1)),
        (8, "85123A", "family_times", np.log1p(3)),
        (8, "22423", "family_times", 0.0),
        (8, "85123A", "days_since_family", np.log1p(50)),
        (9, "85123A", "days_since_family", np.log1p(365)),
        (8, "85123A", "family_size", np.log1p(1)),  # 85123C is sold later
        (8, "22423", "family_size", 0.0),
    ],
)
def test_habits_by_hand(by_hand, who, code, name, expected):
    assert by_hand[who, code][name] == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("lines", "day"),
    [(LEDGER, DAY_OF_LEDGER), (LEDGER, 45), *((random_lines(seed), 60 + 50 * seed) for seed in range(3))],
)
def test_habits_are_those_of_a_slow_account(lines, day):
    account = Account(lines, day)
    found = features_of(state_of(lines, day))
    assert found.keys() == {(who, code) for who in account.customers for code in account.codes}
    products = {code: account.product(code) for code in account.codes}
    customers = {who: account.customer(who) for who in account.customers}
    checked = set()
    for (who, code), values in found.items():
        expected = products[code] | customers[who] | account.family(who, code)
        expected["segment_share"] = account.segment_share(who, code)
        if account.of(who, code):
            expected |= account.pair(who, code)
        for name, value in expected.items():
            assert values[name] == pytest.approx(value, rel=2e-3, abs=2e-3), (who, code, name)
        checked |= expected.keys()
    # Every feature of the modules is checked.
    columns = {name for part in (PAIR, PRODUCT, CUSTOMER) for name in part[part.index(NEWEST[part]) :]}
    assert columns | {"segment_share", "family_times", "days_since_family", "family_size"} == checked


NEWEST = {PAIR: "due", PRODUCT: "usual_gap", CUSTOMER: "visit_due"}
"""The first feature of habits in each group."""


def test_a_product_that_was_never_bought_or_was_returned_has_the_habits_of_none(by_hand):
    names = PAIR[PAIR.index("due") :]
    never = dict.fromkeys(names, 0.0) | dict.fromkeys(("due", "due_by_product", "due_by_quantity"), np.log(4))
    for pair in ((9, "85123A"), (7, "POST")):
        assert {name: by_hand[pair][name] for name in names} == pytest.approx(never, rel=1e-3)


def test_no_habit_sees_anything_from_the_instant_on():
    """Later lines, with other prices and quantities, new members of families, and later returns."""
    day, lines = 100, random_lines(5)
    past = [(*line[:6], line[6] if line[6] is not None and line[6] < day else None) for line in lines if line[3] < day]
    later = [(*line[:4], 99 * line[4], 7 * line[5], line[6]) for line in lines if line[3] >= day]
    future = [(100, f"10001{letter}", f"Z{letter}", day + 1, 5, 50.0, None) for letter in "DEFGHI"]
    back = [(*line[:6], day) if line[6] is None else line for line in past]
    now = features_of(state_of(past, day, until=day))
    for others in (past + later + future, back + later + future):
        assert features_of(state_of(others, day)) == now


def test_segments_are_thirds_by_size_of_invoices_and_by_their_number():
    lines = random_lines(3, customers=40)
    state, account = state_of(lines, 150), Account(lines, 150)
    found = segments(state)
    known = {int(state.events.customers[who]): int(found[who]) for who in state.known_customers}
    assert known == account.segment
    assert len(set(known.values())) > 5
    assert max(known.values()) < SEGMENTS


@pytest.mark.parametrize("make", [lambda n: f"{n:05d}", lambda n: "ABCDEFGHIJ"[n // 10] + "abcdefghij"[n % 10]])
def test_codes_without_letters_after_digits_make_no_families(make):
    lines = [(1, make(number), str(number), number, 1, 1.0, None) for number in range(60)]
    for (_, code), values in features_of(state_of(lines, 60)).items():
        assert values["family_times"] == values["family_size"] == 0
        assert values["days_since_family"] == values["days_since_bought"], code


def test_a_stem_of_very_many_products_is_no_family(monkeypatch):
    monkeypatch.setattr(families_module, "MOST_VARIANTS", 3)
    lines = [(1, f"1{letter}", letter, number, 1, 1.0, None) for number, letter in enumerate("ABCD")]
    lines += [(1, f"2{letter}", f"2{letter}", number, 1, 1.0, None) for number, letter in enumerate("ABC")]
    values = features_of(state_of(lines, 10))
    assert [values[1, f"1{letter}"]["family_size"] for letter in "ABCD"] == [0] * 4
    assert [values[1, f"1{letter}"]["family_times"] for letter in "ABCD"] == [0] * 4
    assert values[1, "1A"]["days_since_family"] == pytest.approx(np.log1p(10), rel=1e-3)
    assert [values[1, f"2{letter}"]["family_size"] for letter in "ABC"] == pytest.approx([np.log1p(2)] * 3, rel=1e-3)
    # On the third day the fourth product was not sold yet.
    assert features_of(state_of(lines, 3))[1, "1A"]["family_size"] == pytest.approx(np.log1p(2), rel=1e-3)


ODD = {
    "one customer, one line": [(1, "A", "1", 0, 1, 1.0, None)],
    "guests alone": [(None, "A", "1", 0, 1, 1.0, None), (None, "B1A", "2", 9, 1, 1.0, None)],
    "a guest, then a customer after the instant": [(None, "A", "1", 0, 1, 1.0, None), (1, "A", "2", 60, 1, 1.0, None)],
    "everything returned": [(1, "A", "1", 0, 1, 1.0, 5), (1, "B", "2", 9, 1, 1.0, 9)],
    "nothing before the instant": [(1, "A", "1", 60, 1, 1.0, None)],
    "nothing at all": [],
    "the largest numbers": [(1, "A", str(day), day, 2**31 - 1, 1e9, None) for day in (0, 20, 40)],
    "the smallest numbers": [(1, "A", str(day), day, 1e-6, 1e-9, None) for day in (0, 20, 40)],
    "very unlike numbers": [
        (1, "A", "1", 0, 1e-6, 1e9, None),
        (1, "A", "2", 9, 2**31 - 1, 1e-9, None),
        (2, "A", "3", 9, 1, 1.0, None),
    ],
    "all at one time": [(who, code, f"{who}{code}", 0, 1, 1.0, None) for who in (1, 2) for code in "AB"],
    "one invoice of two customers": [(1, "A", "1", 0, 1, 1.0, None), (2, "A", "1", 0, 1, 1.0, None)],
}


@pytest.mark.parametrize("name", ODD)
def test_habits_of_odd_shops_are_finite(name):
    with np.errstate(all="raise", under="ignore"):
        state = state_of(ODD[name], 50)
        maker = ContextMaker(state)
        everyone = np.arange(state.shape[0])
        for contexts in maker.contexts(everyone):
            assert np.isfinite(contexts.features).all()
    for table in (maker.pair_table, maker.product_table, maker.customer_table, maker.never_bought):
        assert np.isfinite(table).all()
