"""Gradient-boosted trees over the model's own candidates and features, by LightGBM: LambdaRank and a classifier."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Lists
from ncf_pipeline.evaluation.baselines import recent_best_sellers
from ncf_pipeline.id_order import in_order
from ncf_pipeline.model.features.contexts import ContextMaker
from ncf_pipeline.model.features.queries import Chunk, instants, queries_at
from ncf_pipeline.model.features.state import Mask
from ncf_pipeline.model.peers.ranking import SEED, Row, best_candidates, library, state_at
from ncf_pipeline.model.recipe import Recipe

ROUNDS = 200
SHARED = {
    "learning_rate": 0.05,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "seed": SEED,
    "verbose": -1,
}
RANKING = SHARED | {"objective": "lambdarank", "lambdarank_truncation_level": 15}
CLASSIFYING = SHARED | {"objective": "binary"}

Queries = Callable[[int, int, Recipe], list[Chunk]]
"""Takes an instant in microseconds, the days of its horizon and the recipe, as `queries_at` does."""


def lambdarank(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    leaves: int = 31,
    in_leaf: int = 300,
    rounds: int = ROUNDS,
    queries: Queries | None = None,
) -> pd.DataFrame:
    """Ranks by LambdaRank.

    Burges 2010, "From RankNet to LambdaRank to LambdaMART".

    Args:
        interactions: columns of `columns.Interactions`.
        as_of: first instant excluded.
        top_n: length of a list.
        customers: ids of the customers who get lists.
        leaves: most leaves of a tree.
        in_leaf: fewest candidates in a leaf.
        rounds: trees.
        queries: makes the queries of an instant, where others share them. Default: they are made here.

    Returns:
        Columns of `columns.Lists`.

    Raises:
        ModuleNotFoundError: `lightgbm` is not installed.
    """
    parameters = RANKING | {"num_leaves": leaves, "min_data_in_leaf": in_leaf}
    return _by_trees(interactions, as_of, top_n, customers, parameters, rounds, queries)


def boosted_classifier(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    leaves: int = 31,
    in_leaf: int = 300,
    rounds: int = ROUNDS,
    queries: Queries | None = None,
) -> pd.DataFrame:
    """Ranks by the probability that a candidate is bought in the horizon: log loss over all candidates alike.

    Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree". Arguments, result and errors are
    those of `lambdarank`.
    """
    parameters = CLASSIFYING | {"num_leaves": leaves, "min_data_in_leaf": in_leaf}
    return _by_trees(interactions, as_of, top_n, customers, parameters, rounds, queries)


def _by_trees(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    parameters: dict[str, Any],
    rounds: int,
    queries: Queries | None,
) -> pd.DataFrame:
    """Two ensembles, for all candidates and for those new to the customer, trained on the model's own past instants.

    They have all of the model's features, but no embeddings. A shop too young for past instants gets recent best
    sellers.
    """
    state = state_at(interactions, as_of)
    made = queries or partial(queries_at, state.events)
    past = instants(state.events, state.at, state.recipe)
    chunks = [chunk for at, days in past for chunk in made(at, days, state.recipe)]
    if not chunks:
        return recent_best_sellers(interactions, as_of, top_n, customers)
    rankers = {name: _trained(chunks, parameters, rounds, new_only=name == DISCOVER) for name in (FOR_YOU, DISCOVER)}
    wanted = in_order(customers)
    chosen = np.intersect1d(state.known_customers, state.events.index_of(wanted))
    rows: list[Row] = []
    for contexts in ContextMaker(state).contexts(chosen):
        features = contexts.features[:].astype(np.float32)
        scores = {name: np.asarray(ranker.predict(features)) for name, ranker in rankers.items()}
        rows += best_candidates(state.events, contexts, scores, top_n)
    ranked = pd.DataFrame(rows, columns=list(Lists.ALL))
    known = set(state.events.customers[chosen])
    unknown = [customer for customer in wanted if customer not in known]
    return pd.concat([ranked, recent_best_sellers(interactions, as_of, top_n, unknown)], ignore_index=True)


def _trained(chunks: Sequence[Chunk], parameters: dict[str, Any], rounds: int, *, new_only: bool) -> Any:
    parts = list(_rows(chunks, new_only=new_only))
    lightgbm = library("lightgbm")
    dataset = lightgbm.Dataset(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.bought for part in parts]),
        group=np.concatenate([part.sizes for part in parts]),
    )
    return lightgbm.train(parameters | {"num_threads": torch.get_num_threads()}, dataset, rounds)


class _Rows(NamedTuple):
    """Candidates of queries, one query after the other: (R, F), (R,) 0 or 1, and (B,) candidates of each query."""

    features: npt.NDArray[np.float32]
    bought: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def _rows(chunks: Sequence[Chunk], *, new_only: bool) -> Iterator[_Rows]:
    """The queries with an answer, with all of their candidates that the question asks for."""
    for chunk in chunks:
        contexts = chunk.contexts
        query = np.repeat(np.arange(len(contexts.customer)), np.diff(contexts.start))
        among: Mask = ~contexts.seen if new_only else np.ones_like(contexts.seen)
        positive = chunk.positive & among
        kept = among & (np.bincount(query[positive], minlength=len(contexts.customer)) > 0)[query]
        sizes = np.bincount(query[kept], minlength=len(contexts.customer))
        yield _Rows(contexts.features[kept].astype(np.float32), positive[kept].astype(np.int64), sizes[sizes > 0])
