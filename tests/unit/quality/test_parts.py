"""A suite checked part by part says what it says about the whole table: every rule, every number, every example."""

from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ncf_pipeline.columns import Interactions
from ncf_pipeline.errors import QualityError
from ncf_pipeline.quality import suites
from ncf_pipeline.quality.parts import CheckInParts
from ncf_pipeline.quality.snapshots import DAY_OF_LATE, SETTLED_AT, SUITE, _in_order, _with_instants
from ncf_pipeline.quality.suites import check_frame, outcomes_of_frame, rules_of
from ncf_pipeline.registry.snapshot_files import bucket_of_lines, in_order

CUTOFF = datetime(2021, 3, 1)
PARTS = 2
PARAMETERS = {
    "cutoff": CUTOFF,
    "recent": CUTOFF - timedelta(days=7),
    "excluded": ["POST", "DOT"],
    "strangers": ["99999", "88888"],
    "fewest_lines": 900,
    "most_lines": 3000,
    "fewest_days": 20,
}


def lines(number=1200):
    """Lines of 60 customers and some guests, in 50 days, four to an invoice; one in a hundred is taken back."""
    random = np.random.default_rng(3)
    invoice = np.arange(number) // 4
    at = np.datetime64(CUTOFF - timedelta(days=50), "us") + (invoice * 4).astype("timedelta64[h]")
    at = np.minimum(at, np.datetime64(CUTOFF - timedelta(hours=1), "us"))
    customer = pd.Series((14600 + invoice % 60).astype(str), dtype="str").where(invoice % 7 > 0)
    returned = pd.Series(at + np.timedelta64(30, "m")).where(np.arange(number) % 100 == 5)
    return pd.DataFrame(
        {
            "customer_id": customer,
            "stock_code": pd.Series((22000 + random.permutation(number) % 80).astype(str), dtype="str"),
            "invoice_no": pd.Series((600000 + invoice).astype(str), dtype="str"),
            "purchased_at": pd.Series(at),
            "quantity": random.integers(1, 9, number).astype(float),
            "unit_price": random.integers(1, 9, number) / 4,
            "country": pd.Series(["France"] * number, dtype="str"),
            "description": pd.Series(["A GOOD THING"] * number, dtype="str"),
            "returned_at": returned.astype("datetime64[us]"),
        }
    )


def put(frame, column, places, values):
    frame.loc[frame.index[list(places)], column] = values
    return frame


def with_broken_rows(frame):
    """Rows of every rule on rows, more than any of them tolerates; the values differ from part to part."""
    random = np.random.default_rng(5)
    codes = ["POST", "99999", "CARRIAGE", "DOT", "88888", "FEE", "M"]
    frame = put(frame, Interactions.STOCK_CODE, range(20, 160, 2), [codes[at % 7] for at in range(70)])
    frame = put(frame, Interactions.QUANTITY, range(200, 260), -random.integers(0, 40, 60).astype(float))
    frame = put(frame, Interactions.UNIT_PRICE, range(300, 360), -random.integers(0, 40, 60) / 8)
    frame = put(frame, Interactions.RETURNED_AT, range(400, 420), datetime(2020, 1, 1))
    frame = put(frame, Interactions.RETURNED_AT, range(420, 425), CUTOFF + timedelta(days=1))
    frame = put(frame, Interactions.QUANTITY, range(500, 520), None)
    frame = put(frame, Interactions.STOCK_CODE, range(520, 530), None)
    frame = put(frame, Interactions.INVOICE_NO, range(532, 540, 4), None)
    frame = put(frame, Interactions.PURCHASED_AT, range(540, 550), None)
    frame = put(frame, Interactions.PURCHASED_AT, range(560, 570), CUTOFF + timedelta(hours=2))
    frame = put(frame, Interactions.CUSTOMER_ID, range(600, 1200), None)
    return pd.concat([frame, frame.iloc[700:1000]], ignore_index=True)


def with_few_broken_rows(frame):
    """Fewer than the rules with a tolerance tolerate; of one of them, many in a single part."""
    frame = put(frame, Interactions.STOCK_CODE, range(3, 6), ["CARRIAGE", "FEE", "CARRIAGE"])
    theirs = frame.index[frame[Interactions.CUSTOMER_ID] == "14601"]
    return pd.concat([frame, frame.loc[theirs]], ignore_index=True)


def of_few(frame):
    """Too few customers, products, days and lines, and none of late."""
    frame = frame[frame[Interactions.PURCHASED_AT] < CUTOFF - timedelta(days=30)]
    frame = frame[frame[Interactions.CUSTOMER_ID].isna() | (frame[Interactions.CUSTOMER_ID] < "14610")]
    return frame.assign(stock_code=frame[Interactions.STOCK_CODE].str[:4])


SHOPS = {
    "good": lambda frame: frame,
    "every rule on rows is broken": with_broken_rows,
    "less is broken than is tolerated": with_few_broken_rows,
    "too few of everything": of_few,
    "too many lines": lambda frame: pd.concat([frame] * 4, ignore_index=True),
    "no lines": lambda frame: frame.iloc[:0],
    "no customers": lambda frame: frame.assign(customer_id=pd.Series([None] * len(frame), dtype="str")),
    "a column is missing": lambda frame: frame.drop(columns=[Interactions.QUANTITY]),
}


def divided(frame):
    """The parts of a snapshot of these lines; lines that name neither customer nor invoice lie in any part."""
    if Interactions.QUANTITY not in frame or frame.empty:
        return [frame.iloc[part::PARTS] for part in range(PARTS)]
    whole = pl.from_pandas(frame)
    part = bucket_of_lines(whole.with_columns(pl.col(Interactions.INVOICE_NO).fill_null("none"))) % PARTS
    return [whole.filter(part == number).to_pandas() for number in range(PARTS)]


def whole_of(name):
    frame = SHOPS[name](lines())
    return in_order(pl.from_pandas(frame)).to_pandas() if Interactions.QUANTITY in frame else frame


@lru_cache
def verdict_on(name):
    """What is said about all lines of a shop at once."""
    return check_frame(_with_instants(whole_of(name), CUTOFF), SUITE, parameters=PARAMETERS)


def in_parts(parts):
    check = CheckInParts(SUITE, in_order=_in_order)
    for part in parts:
        check.add(_with_instants(part, CUTOFF), PARAMETERS)
    return check, check.verdict(PARAMETERS)


@pytest.mark.parametrize("name", list(SHOPS))
def test_parts_break_what_the_whole_breaks(name):
    frame = whole_of(name)
    check, verdict = in_parts(divided(frame))
    assert verdict == verdict_on(name)
    assert check.lines == len(frame)
    assert check.distinct(DAY_OF_LATE) == _with_instants(frame, CUTOFF)[DAY_OF_LATE].nunique()
    assert check.distinct("no such column") == 0


def test_the_shops_break_every_rule():
    verdicts = {name: verdict_on(name) for name in SHOPS}
    broken = {rule.rule_id for verdict in verdicts.values() for rule in verdict.failed}
    assert broken == set(rules_of(SUITE))
    assert not verdicts["good"].failed
    tolerated = verdicts["less is broken than is tolerated"].broken
    assert {rule.rule_id: rule.failed for rule in tolerated} == {
        "line_is_there_once": False,
        "customer_id_is_mostly_given": False,
        "stock_code_has_a_digit": False,
    }


def test_a_rule_of_a_type_that_nobody_has_added_up_is_refused_by_name(monkeypatch):
    rules = suites.rules_as_written(SUITE)
    rules[0] = {**rules[0], "type": "expect_column_mean_to_be_between"}
    monkeypatch.setattr("ncf_pipeline.quality.parts.rules_as_written", lambda suite: rules)
    with pytest.raises(QualityError, match="columns_are_there cannot be checked part by part"):
        CheckInParts(SUITE, in_order=_in_order)


def test_the_instant_of_the_last_change_is_largest_in_any_part():
    frame = put(lines(), Interactions.RETURNED_AT, [1199], CUTOFF)
    _, verdict = in_parts(divided(frame))
    assert [rule.rule_id for rule in verdict.failed] == ["return_is_before_the_cutoff"]
    (outcome,) = outcomes_of_frame(
        pd.DataFrame({SETTLED_AT: [CUTOFF]}), SUITE, ["return_is_before_the_cutoff"], parameters=PARAMETERS
    )
    assert outcome.failed
