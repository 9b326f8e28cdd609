import pytest

from ncf_pipeline.evaluation.metrics import average_precision_at_k, ndcg_at_k, precision_at_k, recall_at_k


@pytest.mark.parametrize(
    ("recommended", "bought", "k", "precision", "recall"),
    [
        (["a", "b", "c", "d", "e"], {"a", "c"}, 5, 2 / 5, 2 / 2),
        (["a", "b", "c"], {"a"}, 5, 1 / 5, 1 / 1),  # a short list: still divided by k
        (["a", "b", "c"], {"a", "x", "y", "z"}, 2, 1 / 2, 1 / 4),
        (["x", "a"], {"a"}, 1, 0.0, 0.0),  # beyond k
        ([], {"a"}, 5, 0.0, 0.0),
        (["a", "a", "a"], {"a", "b"}, 3, 1 / 3, 1 / 2),  # a repeated product is one hit
    ],
)
def test_precision_and_recall_by_hand(recommended, bought, k, precision, recall):
    assert precision_at_k(recommended, bought=bought, k=k) == pytest.approx(precision)
    assert recall_at_k(recommended, bought=bought, k=k) == pytest.approx(recall)


@pytest.mark.parametrize(
    ("recommended", "bought", "k", "expected"),
    [
        (["a", "b"], {"a", "b"}, 2, 1.0),
        (["x", "a"], {"a"}, 2, 0.6309297535714575),  # 1/log2(3)
        (["a", "x", "b"], {"a", "b"}, 3, 1.5 / 1.6309297535714575),  # (1 + 1/log2(4)) / (1 + 1/log2(3))
        (["a"], {"a", "b", "c"}, 1, 1.0),  # the ideal list is no longer than k
        (["x"], {"a"}, 10, 0.0),
    ],
)
def test_ndcg_by_hand(recommended, bought, k, expected):
    assert ndcg_at_k(recommended, bought=bought, k=k) == pytest.approx(expected)


def test_precision_of_nothing_bought_is_zero_but_recall_and_ndcg_have_no_meaning():
    assert precision_at_k(["a"], bought=set(), k=1) == 0
    with pytest.raises(ValueError, match="recall"):
        recall_at_k(["a"], bought=set(), k=1)
    with pytest.raises(ValueError, match="NDCG"):
        ndcg_at_k(["a"], bought=set(), k=1)


def test_k_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        precision_at_k(["a"], bought={"a"}, k=0)


@pytest.mark.parametrize(
    ("recommended", "bought", "k", "expected"),
    [
        (["a", "b"], {"a", "b"}, 2, 1.0),
        (["x", "a"], {"a"}, 2, 1 / 2),
        (["a", "x", "b"], {"a", "b", "c"}, 3, (1 + 2 / 3) / 3),
        (["a", "x", "b"], {"a", "b", "c"}, 2, 1 / 2),  # b is beyond k; two hits were possible
        (["a", "a", "b"], {"a", "b"}, 3, (1 + 2 / 3) / 2),  # a repeated product is one hit
        ([], {"a"}, 3, 0.0),
    ],
)
def test_average_precision_by_hand(recommended, bought, k, expected):
    assert average_precision_at_k(recommended, bought=bought, k=k) == pytest.approx(expected)


def test_average_precision_needs_a_purchase():
    with pytest.raises(ValueError, match="at least one bought product"):
        average_precision_at_k(["a"], bought=set(), k=3)
