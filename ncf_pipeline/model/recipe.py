"""Every hyper-parameter in one place. Saved with the weights, so that the same model can be trained again."""

from dataclasses import asdict, dataclass, replace
from typing import Any

LOOK_CANDIDATES = 60
"""`Recipe.look_candidates` of a shop that tells what customers look at."""

_OF_LOOKS = {"look_candidates", "look_days", "look_half_life_days"}


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the shop's defaults.

    Attributes:
        seed: of weights, dropout, sampled negatives and the order of batches.
        horizon_days: the model learns what is bought within this many days after an instant.
        short_horizon_days: horizon of the newest instant. It is shorter, so that the weeks just before the cutoff are
            learned with histories of that time; 0 for no such instant.
        step_days: days between the past instants that the model learns from.
        min_history_days: days of invoices before the earliest instant.
        max_instants: most instants with the full horizon, newest first.
        max_queries: about how many queries (one customer at one instant) a training learns from at most; of a larger
            shop, a sample of the customers.
        recency_days: an instant's weight is exp(-age / recency_days).
        max_epochs: most passes over the training queries; an inner holdout chooses the number.
        min_steps: fewest batches in an epoch; in a small shop, an epoch passes over the queries several times.
        batch_customers: queries (one customer at one instant) in a batch.
        learning_rate: of AdamW, after `warmup_steps` of linear increase.
        warmup_steps: batches until the full learning rate.
        weight_decay: of AdamW, on matrices and embeddings.
        average_decay: of the exponential moving average of the weights, which is the model.
        negative_share: share of the never bought candidates that is sampled in each epoch; the loss corrects for it.
        embedding_dim: width of customer and product embeddings.
        embedding_scale: standard deviation of product embeddings when training starts.
        hidden: widths of the MLP's layers.
        dropout: on embeddings; also the chance that a customer's or a product's own embedding is hidden, so that the
            row for unknown ids is trained.
        discover_weight: weight of the loss among products new to the customer, added to the loss among all.
        trees_weight: how much the trees count beside the network in `for_you`: see `boosting`; 0 for the network alone.
        discover_trees_weight: the same in `discover`.
        trees_rounds: trees of each question.
        trees_learning_rate: how much each tree adds.
        trees_leaves: most leaves of a tree.
        trees_min_candidates: fewest candidates in a leaf.
        trees_negative_share: share of the never bought candidates that trees learn from; they count as much more.
        trees_candidates: about how many candidates trees learn from at most; of a larger shop, fewer queries.
        popular_candidates: best sellers of the last `horizon_days` that are candidates for every customer.
        taste_candidates: further candidates by each taste score (co-purchases, similar customers, followers).
        max_history_candidates: most candidates from a customer's own products, bought last first.
        look_candidates: most candidates from what a customer viewed, put into a basket or wished and has not bought
            since; 0 for a model that reads no such looks, and is as if there were none.
        look_days: older looks do not count.
        look_half_life_days: a look of that age counts half.
        ridge: EASE's lambda; the higher, the less co-purchases count.
        max_dense_products: most products for which the co-purchase weights are EASE's, dense; a larger catalogue gets
            sparse cosine neighbours. Once trained, a model keeps its kind: see `TrainedModel.feature_recipe`.
        copurchase_neighbours: neighbours kept for each product, among the sparse weights and by similar words.
        similar_customers: neighbours whose purchases make a customer's neighbour score.
        neighbour_pool: most recent customers among whom neighbours are searched.
        follower_windows: past horizons that teach what customers buy after which history.
        follower_ridge: ridge of that kernel regression; the higher, the less single customers count.
        follower_pool: most customers of those horizons that it learns from.
        chunk_mb: MiB for one table while features and lists are made: (candidates of a chunk of customers, features),
            (countries, products), (products, products).
    """

    seed: int = 0
    horizon_days: int = 28
    short_horizon_days: int = 14
    step_days: int = 14
    min_history_days: int = 42
    max_instants: int = 12
    max_queries: int = 50_000
    recency_days: float = 100.0
    max_epochs: int = 4
    min_steps: int = 60
    batch_customers: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    weight_decay: float = 0.1
    average_decay: float = 0.99
    negative_share: float = 0.3
    embedding_dim: int = 32
    embedding_scale: float = 0.1
    hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.5
    discover_weight: float = 0.5
    trees_weight: float = 0.5
    discover_trees_weight: float = 0.5
    trees_rounds: int = 150
    trees_learning_rate: float = 0.06
    trees_leaves: int = 31
    trees_min_candidates: int = 300
    trees_negative_share: float = 0.2
    trees_candidates: int = 2_000_000
    popular_candidates: int = 200
    taste_candidates: int = 60
    max_history_candidates: int = 400
    look_candidates: int = 0
    look_days: int = 28
    look_half_life_days: float = 5.0
    ridge: float = 300.0
    max_dense_products: int = 8000
    copurchase_neighbours: int = 200
    similar_customers: int = 200
    neighbour_pool: int = 20_000
    follower_windows: int = 2
    follower_ridge: float = 1.0
    follower_pool: int = 4000
    chunk_mb: int = 16

    @property
    def most_candidates(self) -> int:
        """The most candidates of a customer, about: a product may be chosen for several reasons."""
        of_taste = self.popular_candidates + 4 * self.taste_candidates
        return of_taste + self.max_history_candidates + self.look_candidates

    @property
    def reads_looks(self) -> bool:
        """Whether a model of this recipe reads what customers viewed, put into a basket or wished."""
        return self.look_candidates > 0

    def with_looks(self) -> "Recipe":
        """The same for a shop that tells what customers look at."""
        return replace(self, look_candidates=LOOK_CANDIDATES)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they are stored. Without looks, their fields are left out: they would mean nothing."""
        values = asdict(self) | {"hidden": list(self.hidden)}
        return {name: value for name, value in values.items() if self.reads_looks or name not in _OF_LOOKS}

    def network_alone(self) -> "Recipe":
        """The same without trees beside the network."""
        return replace(self, trees_weight=0.0, discover_trees_weight=0.0)

    def rows_at_once(self, columns: int) -> int:
        """Rows of a dense float32 table with this many columns that fit into `chunk_mb`; at least 1.

        >>> Recipe(chunk_mb=1).rows_at_once(1024)
        256
        """
        return max(1, int(self.chunk_mb * 2**20 / (4 * max(columns, 1))))
