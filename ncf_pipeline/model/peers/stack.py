"""The stack: the lists of two peers, joined by weighted reciprocal rank fusion."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import pandas as pd

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Lists
from ncf_pipeline.evaluation.baselines import Baseline

STACK = "stack"
"""The name of the stack among the peers."""

DEPTH = 100
"""Products of a member's list that count."""

SMOOTHING = 60.0
"""As Cormack et al. have it."""


class Members(NamedTuple):
    """Two peers, and the weight of the first one's list; that of the second is `1 - share`."""

    first: str
    second: str
    share: float


BEST: dict[str, Members] = dict.fromkeys((FOR_YOU, DISCOVER), Members("boosted_classifier", "lambdarank", 0.5))
"""By question, the best two on the development cuts: `docs/experiments-offline.md`."""


def names_in(stacks: Mapping[str, Members]) -> list[str]:
    """The peers that the stacks of all questions need, each once."""
    return list(dict.fromkeys(name for members in stacks.values() for name in (members.first, members.second)))


def stack(
    peers: Mapping[str, Baseline],
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
) -> pd.DataFrame:
    """Trains the members of both questions, and joins their lists.

    Args:
        peers: by name; the members are among them.
        interactions: columns of `columns.Interactions`.
        as_of: first instant excluded.
        top_n: length of a list.
        customers: ids of the customers who get lists.

    Returns:
        Columns of `columns.Lists`.
    """
    lists = {name: peers[name](interactions, as_of, max(top_n, DEPTH), customers) for name in names_in(BEST)}
    return fused(lists, top_n)


def fused(lists: Mapping[str, pd.DataFrame], top_n: int, stacks: Mapping[str, Members] = BEST) -> pd.DataFrame:
    """Ranks by the sum of weight / (60 + place) over the lists that a product is on; ties by stock code.

    Cormack et al. 2009, "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods", with a
    weight for each list. It reads places only: scores of different methods have no common scale.

    Args:
        lists: of each member, columns of `columns.Lists`; the first `DEPTH` products of a list count.
        top_n: length of a list.
        stacks: by question.

    Returns:
        Columns of `columns.Lists`, for the customers of the members' lists.
    """
    rows = defaultdict(list)
    for question, (first, second, share) in stacks.items():
        scores: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for name, weight in ((first, share), (second, 1 - share)):
            asked = lists[name][lists[name][Lists.LIST_NAME] == question]
            for customer, codes in zip(asked[Lists.KEY], asked[Lists.STOCK_CODES], strict=True):
                for place, code in enumerate(codes[:DEPTH], 1):
                    scores[customer][code] += weight / (SMOOTHING + place)
        for customer, of_customer in scores.items():
            ranked = sorted(of_customer, key=lambda code: (-of_customer[code], code))
            rows[customer].append(("customer", customer, question, ranked[:top_n]))
    return pd.DataFrame([row for of_customer in rows.values() for row in of_customer], columns=list(Lists.ALL))
