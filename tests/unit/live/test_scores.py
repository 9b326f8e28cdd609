import pytest
from ledger import interactions, january

from ncf_pipeline.live.scores import pooled, score_slice, slice_of, summary

from ..evaluation.test_scores import customer_lists

LEDGER = interactions(
    (1, "a", 1),
    (2, "a", 2),
    (2, "b", 3),
    (6, "a", 4, 5),  # gave everything back: no list
    # the lists were made here: day 10
    (4, "b", 11),  # came after them
    # they were live from day 12 to 20
    (1, "a", 12),
    (1, "c", 13),
    (2, "c", 14),
    (2, "b", 15, 17),  # returned within the slice
    (4, "b", 16),
    (5, "a", 17),  # came after them too
    (6, "b", 18),
    (1, "b", 20),  # after the slice
)
LISTS = customer_lists(for_you={1: ["a", "x"], 2: ["b", "c"], 3: ["z"]}, discover={1: ["c", "b"], 2: ["x", "c"]})
PART = slice_of(LEDGER, as_of=january(10), start=january(12), end=january(20))


def row(question, recommender="live", part=PART, lists=LISTS):
    scores = {entry.question: entry for entry in score_slice(part, lists, LEDGER, k=2)}[question]
    return next(entry for entry in summary(scores) if entry.recommender == recommender)


def test_which_customers_count():
    assert PART.truth.bought["for_you"] == {"1": {"a", "c"}, "2": {"c"}, "6": {"b"}}
    assert PART.truth.bought["discover"] == {"1": {"c"}, "2": {"c"}, "6": {"b"}}
    assert PART.newcomers == {"4", "5"}  # 3 bought nothing and is not asked


def test_live_precision_by_hand():
    """Of the first two places, customer 1 bought a, customer 2 bought c, and customer 6, without a list, scores 0."""
    live = row("for_you")
    assert live.precision_at_k == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert live.recall_at_k == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert (live.customers, live.without_list, live.ahead) == (3, 1, None)
    assert row("discover").precision_at_k == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)


def test_personal_frequency_knows_purchases_before_the_slice():
    """On day 12 the best sellers are b (sold twice) and a: everybody gets a and b in some order, and nobody gets c."""
    instead = row("for_you", "personal_frequency")
    assert instead.precision_at_k == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    assert instead.ahead == pytest.approx((0 + 1 / 2 - 1 / 2) / 3)


def test_a_slice_in_which_nobody_bought_has_no_figures():
    empty = slice_of(LEDGER, as_of=january(10), start=january(25), end=january(30))
    live = row("for_you", part=empty)
    assert live.customers == 0
    assert (live.precision_at_k, live.precision_low, live.ndcg_at_10) == (None, None, None)


def test_pooled_slices_count_a_customer_once_for_each_slice():
    first = score_slice(PART, LISTS, LEDGER, k=2)[0]
    later = slice_of(LEDGER, as_of=january(20), start=january(20), end=january(30))
    both = summary(pooled([first, score_slice(later, LISTS, LEDGER, k=2)[0]]))[0]
    assert both.customers == 4
    assert both.precision_at_k == pytest.approx((1 / 2 + 1 / 2 + 0 + 0) / 4)
