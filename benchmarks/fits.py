"""Trains variants of the model at cuts of a shop, and scores their lists customer by customer.

`ablation.py` and `recipes.py` share it. What variants have in common is made once: the queries of an instant serve
every cut, seed and variant whose features are the same.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import ncf_pipeline.model  # isort: skip # noqa: F401 - before torch: it sets how torch's threads wait
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Interactions, Lists
from ncf_pipeline.evaluation.scores import KNOWN, QUESTIONS, Holdout, score_by_customer, truth_of
from ncf_pipeline.model.batches import Batches
from ncf_pipeline.model.boosting import Trees, train_trees, with_trees
from ncf_pipeline.model.device import place
from ncf_pipeline.model.features.copurchase import Weights
from ncf_pipeline.model.features.events import DAY, encode, microseconds
from ncf_pipeline.model.features.queries import Chunk, instants, instants_since, queries_at
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.features.tables import FEATURES, FeatureRows
from ncf_pipeline.model.features.taste import Taste
from ncf_pipeline.model.fitting import Fit, warm_start
from ncf_pipeline.model.lists.value import ExpectedSpend
from ncf_pipeline.model.lists.variety import LOOK_AHEAD, Reranking, Variety
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD, PurchaseNCF
from ncf_pipeline.model.network_scores import NetworkScores
from ncf_pipeline.model.peers import ALONE
from ncf_pipeline.model.peers.ranking import Row, best_candidates
from ncf_pipeline.model.peers.stack import BEST, DEPTH, STACK, Members, fused, names_in
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import new_network

EPOCHS = 3
"""Of every fit. Choosing the number on an inner holdout, as a retrain does, takes twice as long, and its luck is one
more source of noise. A variant that learns faster or slower is also compared with `epochs` of its own."""

K, TOP_N = 5, 10
HORIZON = timedelta(days=Recipe().horizon_days)

OF_TRAINING_ALONE = (
    "seed", "max_epochs", "min_steps", "batch_customers", "learning_rate", "warmup_steps", "weight_decay",
    "average_decay", "negative_share", "embedding_dim", "embedding_scale", "hidden", "dropout", "discover_weight",
    "recency_days", "step_days", "min_history_days", "max_instants", "short_horizon_days", "trees_weight",
    "discover_trees_weight", "trees_rounds", "trees_learning_rate", "trees_leaves", "trees_min_candidates",
    "trees_negative_share", "trees_candidates",
)  # fmt: skip
"""Fields of the recipe that change neither candidates nor features."""

BY_TREES = ("boosted_classifier", "lambdarank")
"""Peers that learn from the model's own queries."""


@dataclass(frozen=True)
class Variant:
    """A way to train the model.

    Attributes:
        name: in the table.
        recipe: every hyper-parameter.
        epochs: passes over the queries.
        without: features that are zero.
        still: parts of the network that are zero and are not trained; trees stay as they are.
        ids: whether customers and products have embeddings of their own.
        newest_only: whether it is trained on one past instant only.
        value: how much the logarithm of the expected spend counts beside the score: 1 orders by expected revenue.
        family: most products of a family among the first `K`; 0 for any number.
    """

    name: str = ""
    recipe: Recipe = field(default_factory=Recipe)
    epochs: int = EPOCHS
    without: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    ids: bool = True
    newest_only: bool = False
    value: float = 0.0
    family: int = 0

    @property
    def trained(self) -> "Variant":
        """The variant without what changes only the order of its lists."""
        return replace(self, name="", value=0.0, family=0)


@dataclass(frozen=True)
class Peer:
    """Another recommender, with settings that differ from its defaults."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


class Shop:
    """A shop's purchases, with what several fits share.

    Args:
        interactions: columns of `columns.Interactions`.
        end: first instant after the last holdout; nothing from it on is read.
    """

    def __init__(self, interactions: pd.DataFrame, end: datetime) -> None:
        self.interactions = interactions[interactions[Interactions.PURCHASED_AT] < end]
        # Only the holdout's answers use its events; features and the answers of the past do not.
        self.events = encode(self.interactions, end)
        self._queries: dict[tuple[int, int, Recipe], list[Chunk]] = {}
        self._truth: dict[datetime, Holdout] = {}
        self._start: tuple[tuple[int, Recipe], Weights] | None = None
        self._networks: dict[tuple[datetime, Variant], PurchaseNCF] = {}
        self._trees: dict[tuple[datetime, Variant], Trees | None] = {}
        self._members: dict[tuple[datetime, str], pd.DataFrame] = {}

    def queries(self, at: int, days: int, recipe: Recipe) -> list[Chunk]:
        """The queries of an instant. They are kept: those of one cut's past are another cut's holdout."""
        key = at, days, features_of(recipe)
        if key not in self._queries:
            self._queries[key] = queries_at(self.events, at, days, recipe)
        return self._queries[key]

    def let_go(self) -> None:
        """Forgets the queries, models and lists that no other cut has."""
        self._networks, self._trees, self._members = {}, {}, {}
        self._queries = {key: chunks for key, chunks in self._queries.items() if key[1] == HORIZON.days}

    def truth(self, cut: datetime) -> Holdout:
        """What the customers known at a cut bought in the horizon after it."""
        if cut not in self._truth:
            self._truth[cut] = of_known(truth_of(self.interactions, cut, cut + HORIZON))
        return self._truth[cut]

    def network(self, cut: datetime, variant: Variant) -> PurchaseNCF:
        """The network of a variant that is trained at a cut: once for all that differ in trees or order of lists."""
        key = cut, replace(variant.trained, recipe=without_trees(variant.recipe))
        if key not in self._networks:
            self._networks[key] = train(self, cut, variant)
        return self._networks[key]

    def trees(self, cut: datetime, variant: Variant) -> Trees | None:
        """The trees beside it, if its recipe has some: once for all that differ in their weight or order of lists."""
        recipe = variant.recipe
        recipe = replace(
            recipe,
            trees_weight=float(recipe.trees_weight > 0),
            discover_trees_weight=float(recipe.discover_trees_weight > 0),
        )
        key = cut, replace(variant.trained, recipe=recipe)
        if key not in self._trees:
            self._trees[key] = train_trees(past_of(self, cut, variant), microseconds(cut), recipe)
        return self._trees[key]

    def lists(self, cut: datetime, peer: Peer) -> pd.DataFrame:
        """The lists of a peer; a stack's members are trained once for all that differ in members or shares."""
        if peer.name == STACK:
            stacks = BEST | {question: Members(*members) for question, members in peer.settings.items()}
            return fused({name: self._member(cut, name) for name in names_in(stacks)}, TOP_N, stacks)
        return self._of_peer(cut, peer, TOP_N)

    def _member(self, cut: datetime, name: str) -> pd.DataFrame:
        """The lists of a member of a stack, with its defaults, as long as they count."""
        if (cut, name) not in self._members:
            self._members[cut, name] = self._of_peer(cut, Peer(name), DEPTH)
        return self._members[cut, name]

    def _of_peer(self, cut: datetime, peer: Peer, top_n: int) -> pd.DataFrame:
        shared = {"queries": self.queries} if peer.name in BY_TREES else {}
        customers = self.truth(cut).known_customers
        return ALONE[peer.name](self.interactions, cut, top_n, customers, **peer.settings, **shared)

    def start(self, until: int, recipe: Recipe) -> Weights:
        """The co-purchase weights that embeddings start from; those of the last cut are kept."""
        key = until, features_of(recipe)
        if self._start is None or self._start[0] != key:
            self._start = key, Taste(ShopState(self.events, until, recipe)).by_customers
        return self._start[1]


def features_of(recipe: Recipe) -> Recipe:
    """The recipe with defaults for all that changes neither candidates nor features."""
    default = Recipe()
    return replace(recipe, **{name: getattr(default, name) for name in OF_TRAINING_ALONE})


def full_instants(first: datetime, cut: datetime, recipe: Recipe) -> int:
    """How many past instants with the whole horizon a training at a cut has.

    >>> full_instants(datetime(2010, 12, 1), datetime(2011, 4, 11), Recipe())
    5
    """
    past = instants_since(microseconds(first), microseconds(cut), recipe)
    return sum(instant.horizon_days == recipe.horizon_days for instant in past)


def without_trees(recipe: Recipe) -> Recipe:
    """The recipe of the network alone, with defaults for what changes only trees."""
    default = Recipe()
    of_trees = {each.name: getattr(default, each.name) for each in fields(Recipe) if each.name.startswith("trees_")}
    return replace(recipe, **of_trees).network_alone()


def past_of(shop: Shop, cut: datetime, variant: Variant) -> list[Chunk]:
    """The queries that a variant is trained on at a cut."""
    recipe, until = variant.recipe, microseconds(cut)
    past = instants(shop.events, until, recipe)
    if variant.newest_only:
        past = [instant for instant in past if instant.at == until - recipe.horizon_days * DAY]
    return without((chunk for at, days in past for chunk in shop.queries(at, days, recipe)), variant.without)


def train(shop: Shop, cut: datetime, variant: Variant) -> PurchaseNCF:
    """Trains the network of a variant on what was known at a cut."""
    recipe, until = variant.recipe, microseconds(cut)
    customers, products = rows_at(shop, cut, variant)
    batches = Batches(past_of(shop, cut, variant), customers, products, place("cpu"))
    torch.manual_seed(recipe.seed)
    network = new_network(len(customers), len(products), recipe)
    warm_start(network, shop.start(until, recipe), recipe)
    for name in variant.still:
        getattr(network, name).weight.requires_grad_(False).zero_()
    fit = Fit(network, batches, until, recipe)
    for _ in range(variant.epochs):
        fit.run_epoch()
    return fit.averaged.eval()


def rows_at(shop: Shop, cut: datetime, variant: Variant) -> tuple[Any, Any]:
    """(C,) and (P,) embedding rows of customers and products: 0 for those without an event before the cut."""
    events, before = shop.events, shop.events.time < microseconds(cut)
    of_customers, of_products = (
        np.where(np.isin(np.arange(size), index[before]), np.arange(size) + 1, 0) * variant.ids
        for size, index in ((len(events.customers), events.customer), (len(events.products), events.product))
    )
    return of_customers, of_products


def recommend(
    shop: Shop, cut: datetime, variant: Variant, network: PurchaseNCF, trees: Trees | None = None
) -> pd.DataFrame:
    """The lists of all customers who bought something in the horizon, ranked as they are served."""
    rows: list[Row] = []
    scorer = NetworkScores(network, *rows_at(shop, cut, variant))
    spend = ExpectedSpend(ShopState(shop.events, microseconds(cut), variant.recipe)) if variant.value else None
    depth = TOP_N + LOOK_AHEAD if variant.family else TOP_N
    for chunk in without(shop.queries(microseconds(cut), HORIZON.days, variant.recipe), variant.without):
        contexts = chunk.contexts
        scores: npt.NDArray[np.floating[Any]] = scorer.of(contexts, chunk.history)
        if trees is not None:
            scores = with_trees(scores, trees, contexts, variant.recipe)
        if spend is not None:
            owner = np.repeat(contexts.customer, np.diff(contexts.start))
            scores = scores + variant.value * spend.log_of(owner, contexts.product)[:, None]
        by_list = {FOR_YOU: scores[:, FOR_YOU_HEAD], DISCOVER: scores[:, DISCOVER_HEAD]}
        rows += best_candidates(shop.events, contexts, by_list, depth)
    if variant.family:
        limits = Reranking(Variety(family=variant.family, places=K), shop.events.products.tolist())
        rows = [(*row[:3], list(islice(limits.ranked(row[3]), TOP_N))) for row in rows]
    return pd.DataFrame(rows, columns=list(Lists.ALL))


def without(chunks: Iterable[Chunk], features: Collection[str]) -> list[Chunk]:
    """Sets columns of features to zero: a feature that does not vary carries no information."""
    hidden = [FEATURES.index(name) for name in features]
    return [_without(chunk, hidden) for chunk in chunks] if hidden else list(chunks)


def _without(chunk: Chunk, hidden: list[int]) -> Chunk:
    features = chunk.contexts.features[:]
    features[:, hidden] = 0
    return replace(chunk, contexts=replace(chunk.contexts, features=FeatureRows.of(features)))


def of_known(truth: Holdout) -> Holdout:
    """Removes customers without a purchase before the cut."""
    known = frozenset(truth.known_customers)
    bought = {name: {who: codes for who, codes in of.items() if who in known} for name, of in truth.bought.items()}
    cohorts = {name: group & known for name, group in truth.cohorts.items() if name != KNOWN}
    return replace(truth, bought=bought, newcomers={}, cohorts=cohorts)


def score_at(shop: Shop, cut: datetime, side: Variant | Peer) -> dict[str, pd.DataFrame]:
    """Trains at a cut; for each question, a row for each known customer who bought, as `score_by_customer` has it."""
    truth = shop.truth(cut)
    if isinstance(side, Peer):
        lists = shop.lists(cut, side)
    else:
        lists = recommend(shop, cut, side, shop.network(cut, side), shop.trees(cut, side))
    return {question: score_by_customer(lists, truth, question=question, k=K) for question in QUESTIONS}


def with_settings(recipe: Recipe, values: dict[str, str]) -> Recipe:
    """A recipe with other values, each as text.

    Raises:
        ValueError: there is no such field, or a value has another type.

    >>> with_settings(Recipe(), {"hidden": "256,128", "dropout": "0.3"}).hidden
    (256, 128)
    """
    known = {each.name: getattr(recipe, each.name) for each in fields(Recipe)}
    changed: dict[str, Any] = {}
    for name, text in values.items():
        if name not in known:
            raise ValueError(f"the recipe has no {name}; it has {', '.join(known)}")
        if isinstance(known[name], tuple):
            changed[name] = tuple(int(part) for part in text.split(","))
        else:
            changed[name] = type(known[name])(text)
    return replace(recipe, **changed)
