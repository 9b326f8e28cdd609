"""Product neighbourhoods: item-kNN by the library `implicit`, and EASE."""

import warnings
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ncf_pipeline.model.features import copurchase
from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import Float32
from ncf_pipeline.model.peers.ranking import library, ranked_lists, state_at

NEIGHBOURS = 20
RIDGE = 300.0


def item_knn(
    interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str], *, neighbours: int = NEIGHBOURS
) -> pd.DataFrame:
    """Products by cosine to the bought ones; a bought product is most similar to itself.

    Sarwar et al. 2001, "Item-based Collaborative Filtering Recommendation Algorithms".

    Raises:
        ModuleNotFoundError: `implicit` is not installed.
    """
    state = state_at(interactions, as_of)
    model = library("implicit.nearest_neighbours").CosineRecommender(K=neighbours, num_threads=2)
    with warnings.catch_warnings():
        # It warns about a conversion that its own normalisation needs.
        warnings.simplefilter("ignore", library("implicit.utils").ParameterWarning)
        model.fit(sp.csr_matrix(state.bought()), show_progress=False)
    weights = sp.csr_array(model.similarity, dtype=np.float32)

    def scores(index: IntArray) -> Float32:
        return copurchase.scores_from(state.bought(index), weights)

    return ranked_lists(state, scores, interactions, as_of, top_n, customers)


def ease(
    interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str], *, ridge: float = RIDGE
) -> pd.DataFrame:
    """Products by ridge regression on all others (Steck 2019, "Embarrassingly Shallow Autoencoders", eq. 8).

    Its matrix is dense. In a catalogue above the recipe's `max_dense_products`, it only knows those with most buyers.
    """
    state = state_at(interactions, as_of)
    buyers = np.asarray(state.bought().sum(axis=0)).ravel()
    kept = np.sort(np.argsort(-buyers, kind="stable")[: state.recipe.max_dense_products])
    weights = copurchase.ease(state.bought(state.known_customers)[:, kept], ridge)

    def scores(index: IntArray) -> Float32:
        table = np.zeros((len(index), state.shape[1]), np.float32)
        table[:, kept] = copurchase.scores_from(state.bought(index)[:, kept], weights)
        return table

    return ranked_lists(state, scores, interactions, as_of, top_n, customers)
