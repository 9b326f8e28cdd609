"""Compares the recipe with baselines and peers, with confidence intervals. Stores nothing but a snapshot."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd

from ncf_pipeline.columns import Lists
from ncf_pipeline.evaluation.scores import Scores, score
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.serving.merchandising import categories_of, style_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.retrain import depth_of, read_sample, recipe_of, train_and_recommend, truth_for
from ncf_pipeline.training.style_price import Price, prices

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The scores of a recipe, of the baselines and of the peers on one holdout.

    Attributes:
        snapshot_id: of the snapshot that was evaluated on.
        cutoff: end of the holdout, excluded.
        holdout_start: its first instant.
        scores: for each question, cohort and recommender.
        prices: of limits on variety and of the order by value, if they were asked for.
    """

    snapshot_id: str
    cutoff: datetime
    holdout_start: datetime
    scores: tuple[Scores, ...]
    prices: tuple[Price, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "snapshot_id": self.snapshot_id,
            "cutoff": self.cutoff.isoformat(),
            "holdout_start": self.holdout_start.isoformat(),
            "evaluation": [scores.as_dict() for scores in self.scores],
            "variety": [asdict(price) for price in self.prices],
        }


def evaluate(
    settings: Settings, cutoff: datetime | None = None, *, peers: bool = True, variety: bool = False
) -> Evaluation:
    """Trains the recipe as a backtest, and scores it beside the baselines and the peers.

    Args:
        settings: `holdout_days`, `k`, `top_n`, `seed`, `trees` and `device` are used.
        cutoff: end of the holdout, excluded; None for just after the newest invoice line.
        peers: also train and score other models.
        variety: also price limits on variety and the order by value.

    Raises:
        InputError: there are no purchases before the cutoff.
        TrainingError: there are too few interactions to train on or to evaluate on.
        ModuleNotFoundError: the library of a peer is not installed.
    """
    snapshot = read_sample(settings, take_snapshot(settings, cutoff))
    truth = truth_for(snapshot, snapshot.cutoff - timedelta(days=settings.holdout_days))
    # The peers come first, so that a missing library is reported before minutes of training.
    depth = depth_of(settings)
    of_peers = peer_lists(snapshot.interactions, truth.start, depth, truth.known_customers) if peers else []
    style = style_of(settings)
    recipe = recipe_of(settings, snapshot.looks, truth.start)
    model, lists = train_and_recommend(snapshot, recipe, truth, depth=depth, device=settings.device, style=style)
    fallbacks = fallback_lists(snapshot.interactions, truth.start, depth)
    scores = score(lists | {peer.name: peer.lists for peer in of_peers}, truth, k=settings.k, fallbacks=fallbacks)
    priced: list[Price] = []
    if variety:
        priced = prices(
            model,
            snapshot.interactions,
            truth,
            as_set=style,
            categories=categories_of(settings),
            depth=depth,
            k=settings.k,
            looks=snapshot.looks,
        )
    return Evaluation(snapshot.snapshot_id, snapshot.cutoff, truth.start, tuple(scores), tuple(priced))


class PeerLists(NamedTuple):
    """The lists of a peer, in the columns of `columns.Lists`, and the CPU seconds of its training and its lists."""

    name: str
    lists: pd.DataFrame
    cpu_seconds: float


def peer_lists(interactions: pd.DataFrame, as_of: datetime, depth: int, customers: Sequence[str]) -> list[PeerLists]:
    """Trains every peer, and recommends with it. The stack joins lists that are there already.

    Args:
        interactions: columns of `columns.Interactions`.
        as_of: first instant excluded.
        depth: length of a list.
        customers: customer_ids to recommend to.

    Returns:
        In the order of `PEERS`. The seconds of the stack include those of its members.

    Raises:
        ModuleNotFoundError: the library of a peer is not installed.
    """
    from ncf_pipeline.model.peers import ALONE
    from ncf_pipeline.model.peers.stack import BEST, DEPTH, STACK, fused, names_in

    members = names_in(BEST)
    whole = {}
    for name, peer in ALONE.items():
        started, cpu_started = time.perf_counter(), time.process_time()
        lists = peer(interactions, as_of, max(depth, DEPTH) if name in members else depth, customers)
        whole[name] = PeerLists(name, lists, time.process_time() - cpu_started)
        logger.info("%s: lists for %d customers in %.0f s", name, len(customers), time.perf_counter() - started)
    cpu_started = time.process_time()
    lists = fused({name: whole[name].lists for name in members}, depth)
    seconds = time.process_time() - cpu_started + sum(whole[name].cpu_seconds for name in members)
    return [
        *(each._replace(lists=_first(each.lists, depth)) for each in whole.values()),
        PeerLists(STACK, lists, seconds),
    ]


def _first(lists: pd.DataFrame, depth: int) -> pd.DataFrame:
    """The lists, each cut to a length."""
    return lists.assign(**{Lists.STOCK_CODES: [codes[:depth] for codes in lists[Lists.STOCK_CODES]]})
