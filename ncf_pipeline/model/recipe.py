"""Every hyper-parameter in one frozen place; saved with the weights, so that a model can be trained again alike."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the shop's defaults.

    Attributes:
        seed: of weights, dropout, sampled negatives and the order of batches.
        horizon_days: a model learns what is bought within this many days after an instant.
        short_horizon_days: the newest instant of all has this shorter horizon, so that the last weeks before the
            cutoff are learned from with histories of their own time; 0 for none.
        step_days: days between the past instants that it learns from.
        min_history_days: the shop's history before the earliest of them.
        max_instants: how many of them at most, newest first.
        recency_days: instants count exp(-age / recency_days).
        max_epochs: passes over the training queries; the best number is chosen by an inner holdout.
        min_steps: batches in an epoch at least: a small shop's queries are passed over several times.
        batch_customers: queries (one customer at one instant) in a batch.
        learning_rate: of AdamW, after `warmup_steps` of linear increase.
        warmup_steps: batches until the full learning rate.
        weight_decay: of AdamW, on matrices and embeddings.
        average_decay: of the exponential moving average of the weights that is kept as the model.
        negative_share: of the candidates that were never bought, in each epoch anew; the loss corrects for it.
        embedding_dim: width of customer and product embeddings.
        embedding_scale: standard deviation of product embeddings when training starts.
        hidden: widths of the MLP's layers.
        dropout: on embeddings; also the chance of hiding a customer's or a product's own embedding,
            so that the row for unknown ones is learned.
        discover_weight: weight of the loss among products new to the customer, beside the loss among all.
        popular_candidates: best sellers of the last `horizon_days` that are candidates for everyone.
        taste_candidates: further candidates by each score of taste (co-purchases, similar customers).
        max_history_candidates: of a customer's own products, those bought last.
        ridge: EASE's lambda: higher trusts co-purchases less.
        max_dense_products: up to this many products the co-purchase weights are EASE's, dense; a
            larger catalogue gets the sparse stand-in.
        copurchase_neighbours: products kept for each product in the sparse stand-in, and by likeness of words.
        similar_customers: neighbours whose purchases are a customer's neighbour score.
        neighbour_pool: most recent customers among whom neighbours are looked for.
        follower_windows: past horizons from which is learned what is bought after which history.
        follower_ridge: of that kernel regression: higher trusts single customers less.
        follower_pool: customers of those windows that it learns from, at most.
        chunk_mb: memory for one dense table while features and lists are made: (customers, products), (customers,
            others like them), (countries, products), (products, products).
    """

    seed: int = 0
    horizon_days: int = 28
    short_horizon_days: int = 14
    step_days: int = 14
    min_history_days: int = 42
    max_instants: int = 12
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
    popular_candidates: int = 200
    taste_candidates: int = 60
    max_history_candidates: int = 400
    ridge: float = 300.0
    max_dense_products: int = 8000
    copurchase_neighbours: int = 200
    similar_customers: int = 200
    neighbour_pool: int = 20_000
    follower_windows: int = 2
    follower_ridge: float = 1.0
    follower_pool: int = 4000
    chunk_mb: int = 16

    def rows_at_once(self, columns: int) -> int:
        """How many rows a dense float32 table of so many columns may have to stay within `chunk_mb`."""
        return max(1, int(self.chunk_mb * 2**20 / (4 * max(columns, 1))))
