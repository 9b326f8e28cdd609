"""What a shop could use instead of this model: well-kept libraries' recommenders, and plain NCF.

Each is a `baselines.Baseline`: lists from what was known at an instant. A collaborative peer ranks the whole catalogue,
bought products included, for `for_you`, and what is new to the customer for `discover`. They need the `peers` extra.
"""

from ncf_pipeline.evaluation.baselines import Baseline
from ncf_pipeline.model.peers.factors import bpr, ials
from ncf_pipeline.model.peers.neighbours import ease, item_knn
from ncf_pipeline.model.peers.neural import neumf, plain_ncf
from ncf_pipeline.model.peers.trees import lambdarank

__all__ = ["PEERS"]

PEERS: dict[str, Baseline] = {
    "item_knn": item_knn,
    "ease": ease,
    "ials": ials,
    "bpr": bpr,
    "lambdarank": lambdarank,
    "neumf": neumf,
    "plain_ncf": plain_ncf,
}
"""By the name under which the evaluation reports them."""
