import json
from dataclasses import replace
from datetime import timedelta
from math import exp, log

import numpy as np
import pandas as pd
import pytest
from ledger import interactions, january

from ncf_pipeline import synthetic
from ncf_pipeline.columns import Interactions
from ncf_pipeline.live.drift import (
    CountryChange,
    DriftFigures,
    DriftThresholds,
    GroupChange,
    LivePrecision,
    Mix,
    MixCount,
    Sales,
    Shift,
    findings,
    mix,
    shift,
)
from ncf_pipeline.settings import Settings

NOTHING = shift([], [], [])
THRESHOLDS = DriftThresholds(precision_drop=0.3, psi=0.25, new_products=0.1, newcomers=0.5, min_customers=50)


def test_psi_by_hand():
    """30 and 60 of 100; half a count is added to each bin, so the shares are 30.5/101 and 60.5/101."""
    found = shift([30, 70], [60, 40], ["a", "b"])
    e, a = 30.5 / 101, 60.5 / 101
    assert found.psi == pytest.approx((a - e) * log(a / e) + (e - a) * log((1 - a) / (1 - e)))
    assert found.before == {"a": 0.3, "b": 0.7}
    assert found.now == {"a": 0.6, "b": 0.4}


def test_psi_by_chance_falls_with_the_sample_size():
    # (1/100 + 1/50) times the 99% point of chi-square with two degrees of freedom, 9.2103
    assert shift([40, 30, 30], [20, 20, 10], ["a", "b", "c"]).by_chance == pytest.approx(0.03 * 9.21034, rel=1e-5)


def test_a_large_psi_of_a_small_sample_is_no_drift():
    small, large = shift([8, 2], [2, 4], ["a", "b"]), shift([800, 200], [200, 400], ["a", "b"])
    assert small.psi > 0.25 < large.psi
    assert not small.exceeds(0.25)
    assert large.exceeds(0.25)
    assert not large.exceeds(5)


def test_nothing_to_compare_with_is_no_drift():
    assert NOTHING.psi is None
    assert not NOTHING.exceeds(0.01)
    assert not shift([1], [5], ["only one bin"]).exceeds(0.01)


LEDGER = interactions(
    (1, "too early to count", 2),
    (1, "a", 10),
    (1, "a", 11),
    (2, "a", 12),
    (None, "b", 12),
    # the champion was trained here: day 15
    (3, "c", 16),
    # the window: day 20 to 30
    (1, "a", 20),
    (2, "b", 21),
    (3, "c", 22),
    (4, "a", 23),
    (None, "d", 24),
    (4, "too early to count", 25),
    (5, "a", 30),
)


def test_the_mix_by_hand():
    countries = ["Spain"] * len(LEDGER)
    countries[6], countries[9] = "France", "Malta"  # customer 1 has moved, customer 4 is new
    ledger = LEDGER.assign(country=countries)
    found = mix(ledger, learned_until=january(15), start=january(20), end=january(30), days=7)
    assert (found.customers, found.newcomers, found.lines) == (4, 1, 6)
    assert found.new_products == pytest.approx(2 / 6)  # c and d
    assert found.unsold_before == pytest.approx(3 / 6)  # c, d, and what sold only long before
    # a fills the first three quarters of what sold, b the last; halves of them lie at 0.375 and 0.875
    assert found.catalogue.before == {"tenth 4": 0.75, "tenth 9": 0.25}
    assert found.catalogue.now == {"tenth 4": pytest.approx(2 / 3), "tenth 9": pytest.approx(1 / 3)}
    # Customer 4 bought in Malta and in Spain.
    assert found.countries.before == {"Spain": 1.0, "others": 0.0}
    assert found.countries.now == {"Spain": pytest.approx(3 / 5), "others": pytest.approx(2 / 5)}


def test_an_empty_window_has_no_findings():
    found = mix(LEDGER, learned_until=january(15), start=january(40), end=january(50), days=7)
    assert (found.customers, found.lines, found.new_products, found.unsold_before) == (0, 0, 0.0, 0.0)
    assert findings(replace(figures(found=found), precision={}, expected={})) == []


CALM = Mix(500, 50, 9000, 0.02, NOTHING, NOTHING, 0.05)
WEEK = LivePrecision(
    k=5,
    customers=400,
    without_list=7,
    live=0.20,
    low=0.18,
    high=0.22,
    instead=0.17,
    ahead=0.03,
    ahead_low=0.01,
    ahead_high=0.05,
)


def figures(week=None, expected=0.21, found=CALM, certainty=NOTHING, **thresholds):
    return DriftFigures(
        thresholds=replace(THRESHOLDS, **thresholds),
        publication=7,
        slices=1,
        days_of_a_slice=7.0,
        precision={"for_you": replace(WEEK, **(week or {}))},
        expected={"for_you": expected} if expected else {},
        mix=found,
        certainty=certainty,
    )


def sentences(*arguments, **options):
    return findings(figures(*arguments, **options))


def test_the_thresholds_are_the_settings():
    settings = Settings(drift_psi=0.3, drift_min_customers=7)
    assert settings.of_prefix("drift", DriftThresholds) == replace(
        THRESHOLDS, psi=0.3, min_customers=7, new_products=0.15, newcomers=0.6
    )


def test_figures_as_json_read_back_the_same():
    kept = json.loads(json.dumps(figures(certainty=Shift(0.5, 0.1, {"a": 1.0}, {"a": 1.0})).as_dict()))
    assert LivePrecision(**kept["precision"]["for_you"]) == WEEK
    assert kept["thresholds"]["psi"] == 0.25
    assert kept["certainty"]["before"] == {"a": 1.0}
    assert set(kept) == {
        "thresholds", "publication", "slices", "days_of_a_slice", "precision", "expected", "mix", "certainty"
    }  # fmt: skip


def test_a_week_like_earlier_ones_has_no_findings():
    assert sentences() == []
    assert sentences(expected=None) == []


def test_a_drop_that_chance_does_not_explain_is_reported_with_its_figures():
    (line,) = sentences({"live": 0.12, "high": 0.14}, expected=0.24)
    assert line.startswith(
        "for_you: live Precision@5 was 0.1200 over 400 customers, 50% below the 0.2400 of earlier windows (30% is"
    )
    assert "ncf-pipeline rollback" in line
    assert sentences({"live": 0.12, "high": 0.17}, expected=0.24) == []  # 70% of 0.24 is 0.168
    assert sentences({"live": 0.12, "high": 0.14}, expected=0.24, precision_drop=0.6) == []
    assert sentences({"live": 0.12, "high": 0.14, "customers": 49}, expected=0.24) == []


def test_lists_that_are_clearly_worse_than_personal_frequency_do_harm():
    (line,) = sentences(
        {"live": 0.15, "high": 0.17, "instead": 0.19, "ahead": -0.04, "ahead_high": -0.01}, expected=None
    )
    assert "would have reached 0.1900, so these lists do harm" in line
    assert sentences({"ahead": -0.04, "ahead_high": 0.001}) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"new_products": 0.11}, "11% of 9,000 sold lines are of products that the champion has not learned"),
        ({"newcomers": 251}, "50% of 500 buying customers are new"),
        (
            {
                "countries": Shift(
                    0.4, 0.1, {"France": 0.1, "EIRE": 0.4, "Spain": 0.5}, {"France": 0.3, "EIRE": 0.3, "Spain": 0.4}
                )
            },
            "other countries: PSI 0.40, more than 0.25; France 30%, before 10%",
        ),
        ({"catalogue": Shift(0.3, 0.1, {}, {})}, "Other products sell than when the champion learned: PSI 0.30"),
    ],
)
def test_each_shift_in_the_mix_is_reported(changed, words):
    (line,) = sentences(found=replace(CALM, **changed))
    assert words in line
    few = replace(CALM, **changed, customers=49) if "newcomers" not in changed else replace(CALM, customers=49)
    assert sentences(found=few) == []


def test_a_shift_in_certainty_is_reported():
    (line,) = sentences(certainty=Shift(0.5, 0.1, {}, {}))
    assert "How sure the model is of its lists has shifted: PSI 0.50" in line


CALM_SALES = Sales(
    customers_before=400,
    lines_a_day=100.0,
    lines_a_day_before=90.0,
    with_id=0.75,
    with_id_before=0.8,
    price_level=1.0,
    price_jumps=0.02,
    vanished=0.03,
    vanished_by_chance=0.01,
    lowest_group=GroupChange("mug", 0.05, 0.02),
    countries=(CountryChange("France", 0.06, 0.04, 1.53, 2.0),),
)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lines_a_day": 158.0}, "158 lines are sold on a day of trade, 1.8 times the 90 before"),
        ({"lines_a_day": 30.0}, "30 lines are sold on a day of trade, 33% of the 90 before"),
        ({"with_id": 0.39}, "39% of 9,000 sold lines have a customer id, before 80%"),
        ({"with_id": 0.0}, "0% of 9,000 sold lines have a customer id"),
        ({"price_level": 10.0}, "The typical price of a product is 10 times what it was"),
        ({"price_level": 0.1}, "The typical price of a product is 0.1 times what it was"),
        ({"price_jumps": 0.21}, "21% of sold lines (more than 20%) have a price that is more than 3 times"),
        ({"vanished": 0.14}, "Products with 14% of earlier sales (more than 13%) no longer sell"),
        (
            {"lowest_group": GroupChange("mug", 0.05, 0.004)},
            'Products with "mug" in their descriptions have vanished: 0.4% of sold lines, before 5.0%',
        ),
        (
            {"countries": (CountryChange("France", 0.08, 0.04, 2.09, 3.0),)},
            "The share of customers has changed by country: France 8.0%, before 4.0%",
        ),
        (
            {"countries": (CountryChange("France", 0.02, 0.04, 0.49, -3.0),)},
            "The share of customers has changed by country: France 2.0%, before 4.0%",
        ),
    ],
)
def test_each_change_in_sales_is_reported_with_what_to_do(changed, words):
    (line,) = sentences(found=replace(CALM, sales=replace(CALM_SALES, **changed)))
    assert line.startswith(words)
    assert any(advice in line for advice in ("If ", "Correct "))
    few = replace(CALM_SALES, **changed, customers_before=49)
    assert sentences(found=replace(CALM, customers=49, sales=few)) == []


def test_calm_sales_have_no_findings_and_neither_have_figures_of_before_they_were_measured():
    assert sentences(found=replace(CALM, sales=CALM_SALES)) == []
    nothing = replace(
        CALM_SALES, lines_a_day=None, with_id=None, price_level=None, vanished=0.0, lowest_group=None, countries=()
    )
    assert sentences(found=replace(CALM, sales=nothing)) == []
    assert CALM.sales is None


def test_a_change_that_chance_explains_is_no_finding():
    small = CountryChange("Malta", 0.02, 0.01, 2.02, 1.9)
    few = replace(CALM_SALES, countries=(small,), vanished=0.2, vanished_by_chance=0.25)
    assert sentences(found=replace(CALM, sales=few)) == []


def test_sales_by_hand():
    ledger = interactions(
        (1, "a", 1), (1, "a", 2), (2, "b", 3), (None, "b", 3), (2, "a", 9), (None, "c", 10), (3, "a", 11)
    ).assign(unit_price=[1.0, 1.0, 2.0, 2.0, 4.0, 9.0, 1.2], description=["RED MUG"] * 7, country=["France"] * 7)
    found = mix(ledger, learned_until=january(8), start=january(8), end=january(15), days=7).sales
    assert (found.customers_before, found.with_id, found.with_id_before) == (2, pytest.approx(2 / 3), 0.75)
    assert (found.lines_a_day, found.lines_a_day_before) == (1.0, pytest.approx(4 / 3))
    assert found.price_level == pytest.approx(2.6)  # median of 4.0 and 1.2; c did not sell before
    assert found.price_jumps == 0.5
    # b had half of the lines and does not sell: by chance, with three lines sold, it would not in exp(-1.5) of cases
    expected = 0.5 * (0 - exp(-1.5)) + 0.5 * (1 - exp(-1.5))
    assert found.vanished == pytest.approx(expected)
    assert found.countries == ()
    short = mix(ledger, learned_until=january(8), start=january(8), end=january(12), days=7).sales
    assert short.lines_a_day is None


def test_parts_by_customer_have_the_mix_of_the_whole():
    random = np.random.default_rng(2)
    lines = 4000
    frame = pd.DataFrame(
        {
            Interactions.CUSTOMER_ID: pd.Series(random.integers(100, 400, lines).astype(str)).where(
                random.random(lines) > 0.2
            ),
            Interactions.STOCK_CODE: (random.random(lines) ** 3 * 80).astype(int).astype(str),
            Interactions.INVOICE_NO: np.arange(lines).astype(str),
            Interactions.PURCHASED_AT: january(1) + pd.to_timedelta(random.integers(0, 150, lines), unit="D"),
            Interactions.UNIT_PRICE: random.integers(1, 9, lines) / 4,
            Interactions.COUNTRY: random.choice(["Spain", "France", "Malta"], lines),
            Interactions.DESCRIPTION: random.choice(["RED MUG", "BLUE BAG", "GREEN CUP", None], lines),
        }
    )
    order = [Interactions.PURCHASED_AT, Interactions.INVOICE_NO]
    frame = frame.sort_values(order, ignore_index=True)
    window = {"learned_until": january(100), "start": january(120), "end": january(140), "days": 28}
    counting = MixCount(**window, in_order=lambda rows: rows.sort_values(order, ignore_index=True))
    part = frame[Interactions.CUSTOMER_ID].fillna(frame[Interactions.INVOICE_NO]).map(lambda key: sum(key.encode()) % 4)
    for number in range(5):  # the last is empty
        counting.add(frame[part == number])
    found = mix(frame, **window)
    assert counting.mix() == found
    assert found.sales.lowest_group is not None
    assert found.sales.countries
    assert found.countries.psi is not None


SHOP_DAYS = 200


@pytest.fixture(scope="module")
def shop():
    """Purchases of a synthetic shop, and the first instant of its last week."""
    lines = synthetic.generate_shop(customers=2000, products=300, days=SHOP_DAYS, seed=5)
    end = synthetic.START + timedelta(days=SHOP_DAYS)
    at = lines["InvoiceDate"]
    good = (lines["Quantity"] > 0) & (lines["UnitPrice"] > 0) & (at >= synthetic.START) & (at < end)
    lines = lines[good & lines["StockCode"].notna()].sort_values("InvoiceDate")
    frame = pd.DataFrame(
        {
            Interactions.CUSTOMER_ID: lines["CustomerID"].astype("Int64").astype("str"),
            Interactions.STOCK_CODE: lines["StockCode"].astype(str),
            Interactions.PURCHASED_AT: lines["InvoiceDate"],
            Interactions.UNIT_PRICE: lines["UnitPrice"].astype(float),
            Interactions.COUNTRY: lines["Country"],
            Interactions.DESCRIPTION: lines["Description"],
        }
    ).reset_index(drop=True)
    return frame, end - timedelta(days=7)


def reported(frame, start):
    found = mix(frame, learned_until=start, start=start, end=start + timedelta(days=7), days=28)
    thresholds = Settings().of_prefix("drift", DriftThresholds)
    return findings(replace(figures(found=found), precision={}, expected={}, thresholds=thresholds))


def test_an_ordinary_week_of_a_shop_has_no_findings(shop):
    frame, start = shop
    for weeks in range(8):
        assert reported(frame, start - timedelta(days=7 * weeks)) == []


def no_napkins(week):
    return week[~week[Interactions.DESCRIPTION].fillna("").str.contains("NAPKINS")]


def ten_times(week):
    return week.assign(**{Interactions.UNIT_PRICE: 10 * week[Interactions.UNIT_PRICE]})


def no_ids(week):
    return week.assign(**{Interactions.CUSTOMER_ID: pd.array([None] * len(week), "str")})


def a_quarter(week):
    return week.iloc[::4]


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (no_napkins, 'Products with "napkins" in their descriptions have vanished: 0.0% of sold lines'),
        (ten_times, "The typical price of a product is 10 times what it was"),
        (no_ids, "0% of "),
        (a_quarter, "lines are sold on a day of trade, 2"),
    ],
)
def test_a_planted_drift_is_found_in_its_first_week(shop, plant, words):
    frame, start = shop
    inside = frame[Interactions.PURCHASED_AT] >= start
    found = reported(pd.concat([frame[~inside], plant(frame[inside])]), start)
    assert any(words in line for line in found), found


def test_a_country_that_doubles_is_found_within_four_weeks(shop):
    frame, start = shop
    inside = (frame[Interactions.PURCHASED_AT] >= start - timedelta(days=21)) & frame[Interactions.CUSTOMER_ID].notna()
    for country in ("United Kingdom", "Germany"):
        theirs = frame[inside & (frame[Interactions.COUNTRY] == country)]
        more = theirs.assign(**{Interactions.CUSTOMER_ID: "other " + theirs[Interactions.CUSTOMER_ID]})
        found = reported(pd.concat([frame, more]), start)
        assert any(f"changed by country: {country}" in line for line in found), found
