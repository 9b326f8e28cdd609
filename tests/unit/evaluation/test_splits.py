from ledger import interactions, january

from ncf_pipeline.evaluation.splits import holdout, interactions_as_of

LEDGER = interactions(
    (1, "a", 1),
    (1, "b", 2, 5),  # returned on the 5th
    (2, "a", 5),
    (None, "a", 5),
    (2, "b", 9),
    (2, "c", 10),
)


def products(frame):
    return frame["stock_code"].tolist()


def test_a_cutoff_is_the_first_instant_that_is_excluded():
    assert products(interactions_as_of(LEDGER, january(5))) == ["a", "b"]


def test_a_return_counts_from_the_instant_after_it_happened():
    assert "b" in products(interactions_as_of(LEDGER, january(5)))
    assert "b" not in products(interactions_as_of(LEDGER, january(6)))


def test_a_future_return_is_not_known():
    assert interactions_as_of(LEDGER, january(5))["returned_at"].isna().all()


def test_the_holdout_is_half_open_and_has_no_guests():
    held = holdout(LEDGER, january(5), january(10))
    assert list(zip(held["customer_id"], held["stock_code"], strict=True)) == [("2", "a"), ("2", "b")]


def test_a_purchase_that_is_returned_within_the_holdout_does_not_count():
    ledger = interactions((1, "a", 5, 7), (1, "b", 5, 12))
    assert products(holdout(ledger, january(5), january(10))) == ["b"]


def test_train_and_holdout_share_no_purchase():
    before = interactions_as_of(LEDGER, january(5))
    after = holdout(LEDGER, january(5), january(11))
    assert set(before.index).isdisjoint(after.index)
