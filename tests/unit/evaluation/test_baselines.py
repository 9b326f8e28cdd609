import pytest
from ledger import interactions, january

from ncf_pipeline.evaluation.baselines import BASELINES, best_sellers, personal_frequency, recent_best_sellers

# Invoices by product: a 3, b 2, c 2, d 1; in the 28 days before day 41: c 2, d 1.
LEDGER = interactions(
    (1, "a", 1),
    (2, "a", 2),
    (3, "a", 3),
    (1, "b", 4),
    (None, "b", 5),  # guests count for popularity
    (2, "c", 20),
    (2, "c", 30),
    (3, "d", 40),
    (3, "z", 41),  # at the cutoff, so not known
)
AS_OF = january(41)


def lists(frame, name):
    chosen = frame[frame["list_name"] == name]
    return dict(zip(chosen["key"], chosen["stock_codes"], strict=True))


def test_best_sellers_are_the_same_for_everyone_and_ties_are_broken_by_stock_code():
    assert lists(best_sellers(LEDGER, AS_OF, 3, ["1", "2"]), "for_you") == {"1": ["a", "b", "c"], "2": ["a", "b", "c"]}


def test_recent_best_sellers_come_first_and_the_others_follow():
    assert lists(recent_best_sellers(LEDGER, AS_OF, 4, ["1"]), "for_you") == {"1": ["c", "d", "a", "b"]}


def test_discover_leaves_out_what_the_customer_bought():
    assert lists(best_sellers(LEDGER, AS_OF, 3, ["1", "3", "99"]), "discover") == {
        "1": ["c", "d"],
        "3": ["b", "c"],
        "99": ["a", "b", "c"],
    }


def test_personal_frequency_puts_own_purchases_first_ties_by_recent_best_sellers():
    # Customer 2 bought c on two invoices and a on one; then recent best sellers without those.
    assert lists(personal_frequency(LEDGER, AS_OF, 4, ["2"]), "for_you") == {"2": ["c", "a", "d", "b"]}
    # Customer 1 bought a and b once each; a sells better.
    assert lists(personal_frequency(LEDGER, AS_OF, 2, ["1"]), "for_you") == {"1": ["a", "b"]}


def test_two_lines_of_one_invoice_are_one_purchase():
    ledger = interactions(
        (1, "a", 1, None, "x"), (1, "a", 1, None, "x"), (1, "b", 1, None, "y"), (1, "b", 2, None, "z")
    )
    assert lists(personal_frequency(ledger, january(3), 2, ["1"]), "for_you") == {"1": ["b", "a"]}


@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES.keys())
def test_no_baseline_sees_the_cutoff_or_later(baseline):
    known = LEDGER[LEDGER["purchased_at"] < AS_OF]
    assert baseline(LEDGER, AS_OF, 5, ["1", "2", "3"]).equals(baseline(known, AS_OF, 5, ["1", "2", "3"]))
