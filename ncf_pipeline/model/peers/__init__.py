"""Recommenders that a shop could use instead of this model: libraries' own, next-basket methods, and plain NCF.

Each is a `baselines.Baseline`: it makes lists from what was known at an instant. Collaborative peers rank the whole
catalogue, bought products included, for `for_you`, and the products new to the customer for `discover`. Peers need the
`peers` extra. Their keyword arguments are settings, and `make bench-peers` tries others. The stack joins two of them.
"""

from functools import partial

from ncf_pipeline.evaluation.baselines import Baseline
from ncf_pipeline.model.peers.factors import bpr, ials
from ncf_pipeline.model.peers.neighbours import ease, item_knn
from ncf_pipeline.model.peers.neural import neumf, plain_ncf
from ncf_pipeline.model.peers.next_basket import decayed_frequency, tifu_knn, up_cf
from ncf_pipeline.model.peers.sequence import sasrec
from ncf_pipeline.model.peers.stack import STACK, stack
from ncf_pipeline.model.peers.trees import boosted_classifier, lambdarank

__all__ = ["ALONE", "PEERS"]

ALONE: dict[str, Baseline] = {
    "item_knn": item_knn,
    "ease": ease,
    "ials": ials,
    "bpr": bpr,
    "decayed_frequency": decayed_frequency,
    "tifu_knn": tifu_knn,
    "up_cf": up_cf,
    "boosted_classifier": boosted_classifier,
    "lambdarank": lambdarank,
    "sasrec": sasrec,
    "neumf": neumf,
    "plain_ncf": plain_ncf,
}
"""Peers by the name in the evaluation's report, but for the stack."""

PEERS: dict[str, Baseline] = ALONE | {STACK: partial(stack, ALONE)}
"""Peers by the name in the evaluation's report."""
