"""Ranking metrics for one customer. Means over customers are taken where they are reported.

Notation: L the list, best first; B the products bought in the holdout; rel_i = 1 if L_i is in B.
"""

from collections.abc import Collection, Sequence
from math import log2


def precision_at_k(recommended: Sequence[str], *, bought: Collection[str], k: int) -> float:
    """Share of the first `k` places that were bought: |L[:k] ∩ B| / k.

    Divides by k always, also where the list is shorter or fewer products were bought, so that
    figures compare between models and customers.

    >>> precision_at_k(["a", "b", "c"], bought={"a"}, k=5)
    0.2
    """
    return _hits(recommended, bought, k) / k


def recall_at_k(recommended: Sequence[str], *, bought: Collection[str], k: int) -> float:
    """Share of what was bought that is among the first `k`: |L[:k] ∩ B| / |B|.

    Raises:
        ValueError: nothing was bought, for which recall has no meaning.

    >>> recall_at_k(["a", "b", "c"], bought={"a", "x"}, k=5)
    0.5
    """
    if not bought:
        raise ValueError("recall needs at least one bought product")
    return _hits(recommended, bought, k) / len(set(bought))


def ndcg_at_k(recommended: Sequence[str], *, bought: Collection[str], k: int) -> float:
    """Discounted gain over the best that was possible: Σ_{i<=k} rel_i / log2(i + 1), over the same of an ideal list.

    Binary gains (Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques").

    Raises:
        ValueError: nothing was bought, for which there is no ideal list.

    >>> ndcg_at_k(["x", "a"], bought={"a"}, k=2)  # 1/log2(3)
    0.6309297535714575
    """
    if not bought:
        raise ValueError("NDCG needs at least one bought product")
    gain = sum(1 / log2(place + 2) for place, code in enumerate(recommended[:k]) if code in bought)
    ideal = sum(1 / log2(place + 2) for place in range(min(k, len(set(bought)))))
    return gain / ideal


def average_precision_at_k(recommended: Sequence[str], *, bought: Collection[str], k: int) -> float:
    """Mean precision at the places of the hits: Σ_{i<=k} rel_i |L[:i] ∩ B| / i, over min(k, |B|). Its mean is MAP@k.

    Manning et al. 2008, "Introduction to Information Retrieval", section 8.4, cut at `k`.

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
    # A product that is listed twice is one hit: a list cannot earn by repeating itself.
    return len(set(recommended[:k]) & set(bought))
