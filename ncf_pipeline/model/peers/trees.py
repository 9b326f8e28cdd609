"""Gradient-boosted trees over the same candidates and features: LightGBM's LambdaRank."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Lists
from ncf_pipeline.evaluation.baselines import recent_best_sellers
from ncf_pipeline.id_order import in_order
from ncf_pipeline.model.features.contexts import ContextMaker
from ncf_pipeline.model.features.queries import Chunk, instants, queries_at
from ncf_pipeline.model.features.state import Mask
from ncf_pipeline.model.peers.ranking import SEED, library, state_at

ROUNDS = 200
NEGATIVE_SHARE = 0.3
PARAMETERS = {
    "objective": "lambdarank",
    "learning_rate": 0.05,
    "num_leaves": 63,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "lambdarank_truncation_level": 15,
    "deterministic": True,
    "force_row_wise": True,
    "seed": SEED,
    "num_threads": 2,
    "verbose": -1,
}


def lambdarank(interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str]) -> pd.DataFrame:
    """Two rankers, of all candidates and of those new to the customer, trained on the model's own past instants.

    Burges 2010, "From RankNet to LambdaRank to LambdaMART". It has all of the model's features, but no embeddings. A
    shop too young for past instants gets recent best sellers.

    Raises:
        ModuleNotFoundError: `lightgbm` is not installed.
    """
    state = state_at(interactions, as_of)
    chunks = [
        chunk
        for instant in instants(state.events, state.at, state.recipe)
        for chunk in queries_at(state.events, instant.at, instant.horizon_days, state.recipe)
    ]
    if not chunks:
        return recent_best_sellers(interactions, as_of, top_n, customers)
    rankers = {name: _trained(chunks, new_only=name == DISCOVER) for name in (FOR_YOU, DISCOVER)}
    wanted = in_order(customers)
    chosen = np.intersect1d(state.known_customers, state.events.index_of(wanted))
    rows = []
    for contexts in ContextMaker(state).contexts(chosen):
        features = contexts.features.astype(np.float32)
        scores = {name: np.asarray(ranker.predict(features)) for name, ranker in rankers.items()}
        for place, customer in enumerate(contexts.customer):
            part = slice(contexts.start[place], contexts.start[place + 1])
            product, seen = contexts.product[part], contexts.seen[part]
            for name, among in ((FOR_YOU, np.ones_like(seen)), (DISCOVER, ~seen)):
                order = np.lexsort((product[among], -scores[name][part][among]))[:top_n]
                codes = [str(state.events.products[index]) for index in product[among][order]]
                rows.append(("customer", state.events.customers[customer], name, codes))
    ranked = pd.DataFrame(rows, columns=list(Lists.ALL))
    known = set(state.events.customers[chosen])
    unknown = [customer for customer in wanted if customer not in known]
    return pd.concat([ranked, recent_best_sellers(interactions, as_of, top_n, unknown)], ignore_index=True)


def _trained(chunks: Sequence[Chunk], *, new_only: bool) -> Any:
    parts = list(_rows(chunks, new_only=new_only))
    lightgbm = library("lightgbm")
    dataset = lightgbm.Dataset(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.bought for part in parts]),
        group=np.concatenate([part.sizes for part in parts]),
    )
    return lightgbm.train(PARAMETERS, dataset, ROUNDS)


class _Rows(NamedTuple):
    """Candidates of queries, one query after the other: (R, F), (R,) 0 or 1, and (B,) candidates of each query."""

    features: npt.NDArray[np.float32]
    bought: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def _rows(chunks: Sequence[Chunk], *, new_only: bool) -> Iterator[_Rows]:
    """The queries with an answer, with all bought candidates and a sample of the others."""
    random = np.random.default_rng(SEED)
    for chunk in chunks:
        contexts = chunk.contexts
        query = np.repeat(np.arange(len(contexts.customer)), np.diff(contexts.start))
        among: Mask = ~contexts.seen if new_only else np.ones_like(contexts.seen)
        positive = chunk.positive & among
        answered = np.bincount(query[positive], minlength=len(contexts.customer)) > 0
        sampled = contexts.seen | (random.random(len(query)) < NEGATIVE_SHARE)
        kept = among & answered[query] & (positive | sampled)
        sizes = np.bincount(query[kept], minlength=len(contexts.customer))
        yield _Rows(contexts.features[kept].astype(np.float32), positive[kept].astype(np.int64), sizes[sizes > 0])
