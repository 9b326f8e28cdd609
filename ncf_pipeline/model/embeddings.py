"""A network's vectors of customers and products, for use outside of it. Pure.

Three dot products mean something by themselves:

- customer · product `for_you`: the GMF part of the network's `for_you` score (He et al. 2017, "Neural Collaborative
  Filtering", section 3.2). It is what the network knows of taste alone. Lists rank by the whole score: this part, the
  MLP, the context of a purchase, and the trees.
- customer · product `discover`: the same part of the `discover` score.
- `similar` · `similar` of two products: the cosine by which the lists `similar` are ordered.

A customer is the embedding of their id plus the weighted sum of the `bought` embeddings of what they bought (see
`PurchaseNCF`), so customers who came after training have a vector too. Products that came after training have none.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from ncf_pipeline.model.features.events import IntArray, encode, microseconds, rows_of
from ncf_pipeline.model.features.state import ShopState, unit_rows
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD, PurchaseNCF
from ncf_pipeline.model.trained import TrainedModel

Vectors = npt.NDArray[np.float32]

CUSTOMERS_AT_ONCE = 50_000


@dataclass(frozen=True)
class ProductVectors:
    """The vectors of T products.

    Attributes:
        stock_codes: T, in the order of the model's vocabulary.
        for_you: (T, D) for a dot product with a customer's vector.
        discover: (T, D) likewise.
        similar: (T, 2D) of length 1, for a dot product with another product's.
    """

    stock_codes: list[str]
    for_you: Vectors
    discover: Vectors
    similar: Vectors


@dataclass(frozen=True)
class PartOfShop:
    """What some of a shop's purchases give.

    Attributes:
        products: stock codes that were bought and not returned.
        customers: ids and their vectors, (n, D), at most `CUSTOMERS_AT_ONCE` at a time.
    """

    products: frozenset[str]
    customers: Iterator[tuple[list[str], Vectors]]


def part_of_shop(model: TrainedModel, interactions: pd.DataFrame, until: datetime) -> PartOfShop:
    """Makes the vectors of the customers in some of a shop's purchases.

    Args:
        model: from `train`.
        interactions: columns of `columns.Interactions`; all lines of each customer that has any.
        until: first instant excluded.

    Returns:
        Those of customers with a purchase that was not returned in full.
    """
    events = encode(interactions, until)
    state = ShopState(events, microseconds(until), model.feature_recipe)
    bought = frozenset(events.products[state.known_products].tolist())
    return PartOfShop(bought, _customers(model, state))


def _customers(model: TrainedModel, state: ShopState) -> Iterator[tuple[list[str], Vectors]]:
    events, product_rows = state.events, rows_of(model.products, state.events.products.tolist())
    for begin in range(0, len(state.known_customers), CUSTOMERS_AT_ONCE):
        customers = state.known_customers[begin : begin + CUSTOMERS_AT_ONCE]
        ids = events.customers[customers].tolist()
        rows = torch.from_numpy(rows_of(model.customers, ids))
        vectors = customer_vectors(model.network, rows, product_rows, unit_rows(state.decayed(customers)))
        yield ids, vectors.numpy()


@torch.no_grad()
def customer_vectors(network: PurchaseNCF, rows: Tensor, product_rows: IntArray, history: sp.csr_array) -> Tensor:
    """The vectors of B customers, as a network in evaluation mode makes them.

    Args:
        network: on the CPU.
        rows: (B,) the customers' embedding rows, 0 for unknown ones.
        product_rows: (P,) embedding row of each column of the history, 0 for unknown products.
        history: (B, P) decayed purchase rates, rows of length 1.

    Returns:
        (B, D)
    """
    vectors: Tensor = network.customer(rows) + network.bought(
        torch.from_numpy(product_rows[history.indices]),
        torch.from_numpy(history.indptr[:-1].astype(np.int64)),
        per_sample_weights=torch.from_numpy(history.data),
    )
    return vectors


@torch.no_grad()
def product_vectors(model: TrainedModel, bought: Collection[str]) -> ProductVectors:
    """The vectors of the products that the model knows and that were bought.

    Args:
        model: from `train`.
        bought: stock codes that were bought and not returned, by anybody.
    """
    codes = [code for code in model.products if code in bought]
    rows = torch.from_numpy(rows_of(model.products, codes))
    product, gmf = model.network.product.weight[rows], model.network.gmf.weight
    return ProductVectors(
        codes,
        for_you=(product * gmf[FOR_YOU_HEAD]).numpy(),
        discover=(product * gmf[DISCOVER_HEAD]).numpy(),
        similar=similarity_vectors(model.network, rows).numpy(),
    )


@torch.no_grad()
def similarity_vectors(network: PurchaseNCF, rows: Tensor) -> Tensor:
    """The vectors by whose cosine products are similar: both embeddings of each, less their means.

    Args:
        network: on the CPU.
        rows: (T,) embedding rows of the products that are compared.

    Returns:
        (T, 2D), rows of length 1.
    """
    parts = (network.product.weight[rows], network.bought.weight[rows])
    return torch.nn.functional.normalize(torch.cat([part - part.mean(dim=0) for part in parts], dim=1), dim=1)
