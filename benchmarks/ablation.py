"""What each part of the model is worth: trains variants without it, on the cuts that the recipe was chosen on.

All variants rank the same candidates, from all sources; only what the network knows about them differs. A figure is the
mean Precision@5 over customers who bought one of their candidates, so it is somewhat above that of all customers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import ncf_pipeline.model  # isort: skip # noqa: F401 - before torch: it sets how torch's threads wait
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ncf_pipeline.evaluation.scores import score_by_customer, truth_of
from ncf_pipeline.model.batches import Batches
from ncf_pipeline.model.device import place
from ncf_pipeline.model.features.copurchase import Weights
from ncf_pipeline.model.features.events import DAY, Events, encode, microseconds
from ncf_pipeline.model.features.queries import Chunk, instants, queries_at
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.features.tables import CUSTOMER, FEATURES, TASTE
from ncf_pipeline.model.features.taste import Taste
from ncf_pipeline.model.fitting import Fit, inner_precision, warm_start
from ncf_pipeline.model.peers import PEERS
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import new_network

EPOCHS = 3
TIME = (
    "rate_since_first", "decayed_30", "decayed_90", "decayed_rate_90", "decayed_rate_30", "days_since_bought",
    "invoices_since_bought", "in_last_invoice", "share_of_most_bought", "rank_in_history", "days_since_first_bought",
    "gap_ratio", "sales_7", "sales_28", "sales_90", "trend", "product_age", "days_since_sold", "days_since_invoice",
    "tenure", "days_per_invoice", "copurchase_decayed", "copurchase_last", "basket_last", "basket_decayed",
    "neighbours_recent", "new_since_visit",
)  # fmt: skip
COPURCHASE = (
    "copurchase", "copurchase_decayed", "copurchase_last", "basket_last", "basket_decayed", "copurchase_relative",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A model without a part.

    Attributes:
        name: in the table.
        without: features that are zero.
        still: parts of the network that are zero and are not trained.
        ids: whether customers and products have embeddings of their own.
        newest_only: whether it is trained on one past instant only.
        short: whether it is also trained on the instant two weeks before the cutoff.
        seed: of training.
        discover_weight: of the loss of `discover`; None for the recipe's.
    """

    name: str
    without: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    ids: bool = True
    newest_only: bool = False
    short: bool = True
    seed: int = 0
    discover_weight: float | None = None


VARIANTS = (
    Variant("the whole model"),
    Variant("the whole model, another seed", seed=1),
    Variant("without the instant two weeks before the cutoff", short=False),
    Variant("one past instant instead of up to twelve", newest_only=True, short=False),
    Variant("without time: decay, recency, trends", without=TIME),
    Variant("without words of descriptions", without=("words",)),
    Variant("without similar customers", without=("neighbours", "neighbours_recent")),
    Variant("without what followed such histories", without=("followed_new", "followed_all")),
    Variant("without co-purchases", without=COPURCHASE),
    Variant("without any of these four tastes", without=(*TASTE, "copurchase_relative")),
    Variant("without features of the customer", without=CUSTOMER),
    Variant("without the MLP: GMF and linear part", still=("mlp",)),
    Variant("without embeddings: features alone", still=("gmf",), ids=False),
    Variant("without the loss of discover", discover_weight=0.0),
)
PLAIN = {
    "plain NeuMF with negatives, ids alone (He et al. 2017)": "neumf",
    "plain NCF without negatives (the beginning)": "plain_ncf",
}


def ablate(interactions: pd.DataFrame, cuts: Sequence[datetime]) -> list[dict[str, Any]]:
    """Trains all variants at all cuts; returns `name` and the mean `for_you` and `discover` of each."""
    rows = [ablate_at(interactions, cut) for cut in cuts]
    return [
        {
            "name": name,
            "for_you": float(np.mean([row[name][0] for row in rows])),
            "discover": float(np.mean([row[name][1] for row in rows])),
        }
        for name in rows[0]
    ]


def ablate_at(interactions: pd.DataFrame, cut: datetime) -> dict[str, tuple[float, float]]:
    """Trains all variants at a cut; returns (for_you, discover) by name. All share the same queries."""
    recipe, until = Recipe(), microseconds(cut)
    # Only the holdout's answers use its events; features and the answers of the past do not.
    events = encode(interactions, cut + timedelta(days=recipe.horizon_days))
    past = [
        (at, chunk) for at, days in instants(events, until, recipe) for chunk in queries_at(events, at, days, recipe)
    ]
    held = queries_at(events, until, recipe.horizon_days, recipe)
    before = events.time < until
    known_customers = np.isin(np.arange(len(events.customers)), events.customer[before])
    known_products = np.isin(np.arange(len(events.products)), events.product[before])
    start = Taste(ShopState(events, until, recipe)).by_customers
    figures: dict[str, tuple[float, float]] = {}
    for variant in VARIANTS:
        figures[variant.name] = train_variant(
            variant, recipe, past, held, until, known_customers, known_products, start
        )
        print(
            f"{cut:%Y-%m-%d} {variant.name}: {figures[variant.name][0]:.4f} {figures[variant.name][1]:.4f}", flush=True
        )
    truth = truth_of(interactions, cut, cut + timedelta(days=recipe.horizon_days))
    for name, peer in PLAIN.items():
        lists = PEERS[peer](interactions, cut, 10, truth.known_customers)
        for_you, discover = (
            float(table["precision_at_k"][table.index.isin(list(answered(held, events, new_only=new_only)))].mean())
            for question, new_only in (("for_you", False), ("discover", True))
            for table in [score_by_customer(lists, truth, question=question, k=5)]
        )
        figures[name] = for_you, discover
        print(f"{cut:%Y-%m-%d} {name}: {figures[name][0]:.4f} {figures[name][1]:.4f}", flush=True)
    return figures


def train_variant(
    variant: Variant,
    recipe: Recipe,
    past: Sequence[tuple[int, Chunk]],
    held: Sequence[Chunk],
    until: int,
    known_customers: npt.NDArray[np.bool_],
    known_products: npt.NDArray[np.bool_],
    start: Weights,
) -> tuple[float, float]:
    """Trains a variant; returns (for_you, discover) on the holdout after the cut."""
    recipe = replace(recipe, seed=variant.seed)
    if variant.discover_weight is not None:
        recipe = replace(recipe, discover_weight=variant.discover_weight)
    full = until - recipe.horizon_days * DAY
    chunks = [
        chunk for at, chunk in past
        if (variant.short or at <= full) and not (variant.newest_only and at != full)
    ]  # fmt: skip
    hidden = [FEATURES.index(name) for name in variant.without]
    customers = np.where(known_customers, np.arange(len(known_customers)) + 1, 0) * variant.ids
    products = np.where(known_products, np.arange(len(known_products)) + 1, 0) * variant.ids
    training, test = (
        Batches([without(chunk, hidden) for chunk in part], customers, products, place("cpu"))
        for part in (chunks, held)
    )
    torch.manual_seed(recipe.seed)
    network = new_network(len(customers), len(products), recipe)
    warm_start(network, start, recipe)
    for name in variant.still:
        getattr(network, name).weight.requires_grad_(False).zero_()
    fit = Fit(network, training, until, recipe)
    for _ in range(EPOCHS):
        fit.run_epoch()
    return inner_precision(fit.averaged, test)


def without(chunk: Chunk, hidden: Sequence[int]) -> Chunk:
    """Sets columns of features to zero: a feature that does not vary carries no information."""
    if not hidden:
        return chunk
    features = chunk.contexts.features.copy()
    features[:, hidden] = 0
    return replace(chunk, contexts=replace(chunk.contexts, features=features))


def answered(chunks: Sequence[Chunk], events: Events, *, new_only: bool) -> set[int]:
    """Ids of the customers that the figures are over."""
    ids: set[int] = set()
    for chunk in chunks:
        owner = np.repeat(chunk.contexts.customer, np.diff(chunk.contexts.start))
        hit = chunk.positive & ~chunk.contexts.seen if new_only else chunk.positive
        ids |= set(events.customers[np.unique(owner[hit])].tolist())
    return ids
