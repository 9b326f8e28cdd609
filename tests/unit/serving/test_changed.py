from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from ncf_pipeline.columns import Interactions
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.serving.changed import GONE, Plan, digests, newly_hidden, upper_bound

NOW = datetime(2011, 12, 9)
RULES = Rules(hidden=frozenset({"A"}), only_in={"B": frozenset({"France", "EIRE"})})


def ledger(*lines):
    """Rows of customer, product, day of December, day of the return."""
    rows = [
        (
            who,
            code,
            f"{who}{day}",
            datetime(2011, 12, day),
            1.0,
            2.5,
            "France",
            "A THING",
            back and datetime(2011, 12, back),
        )
        for who, code, day, back in lines
    ]
    frame = pd.DataFrame(rows, columns=list(Interactions.ALL))
    frame[Interactions.RETURNED_AT] = pd.to_datetime(frame[Interactions.RETURNED_AT])
    return frame


BEFORE = ledger(("1", "A", 1, None), ("2", "A", 1, None), ("2", "B", 3, None), (None, "B", 3, None))


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        (BEFORE, set()),
        (BEFORE.iloc[::-1], set()),
        (ledger(("1", "A", 1, None), ("2", "A", 1, None), ("2", "B", 3, None), ("2", "B", 4, None)), {"2"}),
        (ledger(("1", "A", 1, 5), ("2", "A", 1, None), ("2", "B", 3, None)), {"1"}),
        (ledger(("1", "A", 1, 20), ("2", "A", 1, None), ("2", "B", 20, None), ("2", "B", 3, None)), set()),
        (ledger(("1", "C", 1, None), ("2", "A", 1, None), ("2", "B", 3, None)), {"1"}),
        (ledger(("2", "A", 1, None), ("2", "B", 3, None)), {"1"}),
    ],
    ids=["nothing", "another order", "a purchase", "a return", "only later ones", "a corrected invoice", "all is gone"],
)
def test_a_customers_digest_changes_with_their_purchases_and_returns_alone(now, changed):
    before, after = digests(BEFORE, NOW), digests(now, NOW)
    assert {customer for customer in before if before[customer] != after.get(customer)} == changed
    assert before.keys() == {"1", "2"}


@pytest.mark.parametrize(
    ("rules", "hidden"),
    [
        (RULES, set()),
        (replace(RULES, hidden=frozenset({"A", "C"})), {"C"}),
        (replace(RULES, hidden=frozenset()), None),
        (replace(RULES, only_in={"B": frozenset({"France"})}), {"B"}),
        (replace(RULES, only_in={"B": frozenset({"France", "EIRE", "Spain"})}), None),
        (replace(RULES, only_in={}), None),
        (replace(RULES, only_in={**RULES.only_in, "D": frozenset({"France"})}), {"D"}),
        (replace(RULES, pins=(Pin("E", "for_you"),)), None),
        (replace(RULES, max_per_family=1), None),
    ],
)
def test_only_rules_that_hide_more_leave_other_lists_as_they_are(rules, hidden):
    assert newly_hidden(RULES, rules) == hidden


def test_a_sample_without_a_difference_does_not_prove_that_there_is_none():
    assert upper_bound([0.0] * 500, 500) == 0
    assert upper_bound([0.0] * 500, 501) == pytest.approx(7 * np.log(40) / (3 * 499))
    with_some = [0.0] * 450 + [0.2] * 50
    assert 0.017 < upper_bound([0.0] * 500, 10_000) < upper_bound(with_some, 10_000) < 0.06
    assert upper_bound([1.0, 0.0], 10) == 1


def test_the_bound_holds_for_at_least_95_of_100_samples():
    random = np.random.default_rng(0)
    everybody = np.where(random.random(20_000) < 0.08, random.random(20_000), 0.0)
    bounds = [upper_bound(random.choice(everybody, 300, replace=False).tolist(), 20_000) for _ in range(300)]
    assert np.mean(np.array(bounds) >= everybody.mean()) >= 0.95


def test_a_plan_says_how_many_of_each_and_names_nobody():
    why = {"14646": "purchases", "14647": "purchases", "14648": "new", "14649": GONE}
    plan = Plan(41, None, why, 4_000, 500, 0.012, 0.0375)
    assert str(plan) == (
        "3 customers are scored (new 1, purchases 2). 4,000 keep the lists of p000041; 1 no longer have any. Of 500 of "
        "them, 1.2% of the products on the lists would be others; of all at most 3.8%."
    )
    assert plan.as_dict()["scored"] == {"gone": 1, "new": 1, "purchases": 2}
    assert str(Plan(None, "nothing was published before")) == "Every customer is scored: nothing was published before."
