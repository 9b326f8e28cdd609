"""Ranking metrics for one customer; `evaluation.scores` takes their means over customers.

Notation: L is the list, best first; B the set of products bought in the holdout; rel_i = 1 if L_i is in B, else 0.
"""

from collections.abc import Collection, Sequence
from math import log2


def precision_at_k(recommended: Sequence[str], *, bought: Collection[str], k: int) -> float:
    """Share of the first `k` places that were bought: |L[:k] ∩ B| / k.

    It divides by k even if the list is shorter or fewer products were bought, so that values are comparable between
    models and customers.

    Args:
        recommended: stock codes, best first.
        bought: stock codes that the customer bought in the holdout.
        k: depth.

    Raises:
        ValueError: `k` is less than 1.

    >>> precision_at_k(["a", "b", "c"], bought={"a"}, k=5)
    0.2
    """
    return _hits(recommended, bought, k) / k


def recall_at_k(recommended: Sequence[str], *, bought: Collection[str], k: int) -> float:
    """Share of the bought products that are among the first `k`: |L[:k] ∩ B| / |B|.

    Args:
        recommended: as for `precision_at_k`.
        bought: as for `precision_at_k`.
        k: depth.

    Raises:
        ValueError: nothing was bought, or `k` is less than 1.

    >>> recall_at_k(["a", "b", "c"], bought={"a", "x"}, k=5)
    0.5
    """
    if not bought:
        raise ValueError("recall needs at least one bought product")
    return _hits(recommended, bought, k) / len(set(bought))


def ndcg_at_k(recommended: Sequence[str], *, bought: Collection[str], k: int) -> float:
    """Discounted cumulative gain, Σ_{i<=k} rel_i / log2(i + 1), divided by that of the ideal list.

    Binary gains (Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques").

    Args:
        recommended: as for `precision_at_k`.
        bought: as for `precision_at_k`.
        k: depth.

    Raises:
        ValueError: nothing was bought, so there is no ideal list.

    >>> ndcg_at_k(["x", "a"], bought={"a"}, k=2)  # 1/log2(3)
    0.6309297535714575
    """
    if not bought:
        raise ValueError("NDCG needs at least one bought product")
    gain = sum(1 / log2(place + 2) for place, code in enumerate(recommended[:k]) if code in bought)
    ideal = sum(1 / log2(place + 2) for place in range(min(k, len(set(bought)))))
    return gain / ideal


def average_precision_at_k(recommended: Sequence[str], *, bought: Collection[str], k: int) -> float:
    """Mean precision at the hits: Σ_{i<=k} rel_i |L[:i] ∩ B| / i, divided by min(k, |B|).

    Its mean over customers is MAP@k (Manning et al. 2008, "Introduction to Information Retrieval", section 8.4).

    Args:
        recommended: as for `precision_at_k`.
        bought: as for `precision_at_k`.
        k: depth.

    Raises:
        ValueError: nothing was bought.

    >>> average_precision_at_k(["a", "x", "b"], bought={"a", "b"}, k=3)  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    if not bought:
        raise ValueError("average precision needs at least one bought product")
    hits, total, seen = 0, 0.0, set()
    for place, code in enumerate(recommended[:k], start=1):
        if code in bought and code not in seen:
            seen.add(code)
            hits += 1
            total += hits / place
    return total / min(k, len(set(bought)))


def _hits(recommended: Sequence[str], bought: Collection[str], k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    # A product that is listed twice is one hit, so repetition earns nothing.
    return len(set(recommended[:k]) & set(bought))
