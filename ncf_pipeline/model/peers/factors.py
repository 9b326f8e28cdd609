"""Matrix factorisation by the library `implicit`: iALS and BPR."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import Float32, ShopState
from ncf_pipeline.model.peers.ranking import SEED, library, ranked_lists, state_at

BPR_FACTORS = 64


def ials(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    factors: int = 128,
    alpha: float = 1.0,
    regularization: float = 1.0,
) -> pd.DataFrame:
    """iALS: weighted factorisation of who bought what.

    Hu et al. 2008, "Collaborative Filtering for Implicit Feedback Datasets".

    Raises:
        ModuleNotFoundError: `implicit` is not installed.
    """
    state = state_at(interactions, as_of)
    model = library("implicit.als").AlternatingLeastSquares(
        factors=factors, regularization=regularization, alpha=alpha, iterations=15, random_state=SEED, num_threads=1
    )
    return _by_factors(model, state, interactions, as_of, top_n, customers)


def bpr(interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str]) -> pd.DataFrame:
    """BPR: ranks bought products before others, pair by pair.

    Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback".

    Raises:
        ModuleNotFoundError: `implicit` is not installed.
    """
    state = state_at(interactions, as_of)
    model = library("implicit.bpr").BayesianPersonalizedRanking(
        factors=BPR_FACTORS, learning_rate=0.05, regularization=0.01, iterations=200, random_state=SEED, num_threads=1
    )
    return _by_factors(model, state, interactions, as_of, top_n, customers)


def _by_factors(
    model: Any, state: ShopState, interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str]
) -> pd.DataFrame:
    """Scores are inner products of factors. With a single thread, the same seed makes the same lists."""
    # Threads of the linear algebra library would slow down those of `implicit`.
    with library("threadpoolctl").threadpool_limits(1, "blas"):
        model.fit(sp.csr_matrix(state.bought()), show_progress=False)
    of_customers, of_products = np.asarray(model.user_factors), np.asarray(model.item_factors)

    def scores(index: IntArray) -> Float32:
        table: Float32 = of_customers[index] @ of_products.T
        return table

    return ranked_lists(state, scores, interactions, as_of, top_n, customers)
