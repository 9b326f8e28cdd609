"""What each part of the model is worth: trains variants without it, on the cuts that the recipe was chosen on.

All variants rank the same candidates, from all sources; only what the network knows about them differs. A figure is the
mean Precision@5 over all known customers who bought something.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from fits import Peer, Shop, Variant, score_at

from ncf_pipeline.columns import DISCOVER, FOR_YOU
from ncf_pipeline.model.features.tables import CUSTOMER, TASTE
from ncf_pipeline.model.recipe import Recipe

TIME = (
    "rate_since_first", "decayed_30", "decayed_90", "decayed_rate_90", "decayed_rate_30", "days_since_bought",
    "invoices_since_bought", "in_last_invoice", "share_of_most_bought", "rank_in_history", "days_since_first_bought",
    "gap_ratio", "sales_7", "sales_28", "sales_90", "trend", "product_age", "days_since_sold", "days_since_invoice",
    "tenure", "days_per_invoice", "copurchase_decayed", "copurchase_last", "basket_last", "basket_decayed",
    "neighbours_recent", "new_since_visit", "due", "due_by_product", "due_by_quantity", "gap_spread", "in_last_3",
    "in_last_5", "streak", "times_28", "times_91", "last_quantity", "last_quantity_relative", "price_change",
    "usual_gap", "rebuy_28", "sales_14_trend", "first_time_share", "price_trend", "visit_due", "last_gap",
    "last_basket_size", "last_new_share", "days_since_family",
)  # fmt: skip
COPURCHASE = (
    "copurchase", "copurchase_decayed", "copurchase_last", "basket_last", "basket_decayed", "copurchase_relative",
)  # fmt: skip
RHYTHM = (
    "days_since_bought", "invoices_since_bought", "in_last_invoice", "gap_ratio", "due", "due_by_product",
    "due_by_quantity", "gap_spread", "in_last_3", "in_last_5", "streak", "usual_gap", "rebuy_28", "visit_due",
    "last_gap",
)  # fmt: skip
SPENDING = (
    "log_price", "price_gap", "pieces", "last_quantity", "last_quantity_relative", "price_change", "pieces_per_line",
    "price_trend", "customer_pieces", "spend",
)  # fmt: skip
FAMILIES = ("family_times", "days_since_family", "family_size")

NO_SHORT = Recipe(short_horizon_days=0)

VARIANTS = (
    Variant("the whole model"),
    Variant("the whole model, another seed", Recipe(seed=1)),
    Variant("without the instant two weeks before the cutoff", NO_SHORT),
    Variant("one past instant instead of up to twelve", NO_SHORT, newest_only=True),
    Variant("without time: decay, recency, trends", without=TIME),
    Variant("without rhythm: gaps, streaks, the last invoices", without=RHYTHM),
    Variant("without quantities and prices", without=SPENDING),
    Variant("without families of products", without=FAMILIES),
    Variant("without countries and segments", without=("country_share", "segment_share")),
    Variant("without words of descriptions", without=("words",)),
    Variant("without similar customers", without=("neighbours", "neighbours_recent")),
    Variant("without what followed such histories", without=("followed_new", "followed_all")),
    Variant("without co-purchases", without=COPURCHASE),
    Variant("without any of these four tastes", without=(*TASTE, "copurchase_relative")),
    Variant("without features of the customer", without=CUSTOMER),
    Variant("without the MLP: GMF and linear part", still=("mlp",)),
    Variant("without embeddings: features alone", still=("gmf",), ids=False),
    Variant("without the loss of discover", Recipe(discover_weight=0.0)),
    Variant("without trees: the network alone", Recipe().network_alone()),
)
PLAIN = {
    "plain NeuMF with negatives, ids alone (He et al. 2017)": Peer("neumf"),
    "plain NCF without negatives (the beginning)": Peer("plain_ncf"),
}


def mean_over_cuts(rows: Sequence[dict[str, tuple[float, float]]]) -> list[dict[str, Any]]:
    """The mean `for_you` and `discover` of each variant with its `name`, of what `ablate_at` returned at each cut."""
    return [
        {
            "name": name,
            "for_you": float(np.mean([row[name][0] for row in rows])),
            "discover": float(np.mean([row[name][1] for row in rows])),
        }
        for name in rows[0]
    ]


def ablate_at(shop: Shop, cut: datetime) -> dict[str, tuple[float, float]]:
    """Trains all variants at a cut; returns (for_you, discover) by name. All share the same queries."""
    figures: dict[str, tuple[float, float]] = {}
    sides: dict[str, Variant | Peer] = {variant.name: variant for variant in VARIANTS}
    for name, side in (sides | PLAIN).items():
        scores = score_at(shop, cut, side)
        for_you, discover = (float(scores[question]["precision_at_k"].mean()) for question in (FOR_YOU, DISCOVER))
        figures[name] = for_you, discover
        print(f"{cut:%Y-%m-%d} {name}: {for_you:.4f} {discover:.4f}", flush=True)
    shop.let_go()
    return figures
