"""Fits a model's chances on the holdout of its backtest, and tests them on customers that they were not fitted on.

The model has not seen the holdout, so its scores there mean what served scores mean. The refit takes the map over. That
assumes that four more weeks of training change the scores as little as the lists, which `refit_check` compares.

Two tests say whether the chances are true:
- Those of the candidate: each customer's come from a map that was fitted on other customers. The weeks are the same, so
  it does not show whether customers buy more in the next weeks than in these.
- Those of the incumbent, as they were served: its map was fitted on the weeks before the holdout, or on earlier ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ncf_pipeline.columns import FOR_YOU
from ncf_pipeline.evaluation.reliability import Reliability, reliability
from ncf_pipeline.evaluation.scores import Holdout
from ncf_pipeline.model.chances import DEPTH, Pairs, fit_chances, out_of_fold, sampled
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.holdout_pairs import best_pairs
from ncf_pipeline.model.trained import TrainedModel

CHANCES = "chances"
"""The key of a manifest that holds a `ChancesTest`."""


@dataclass(frozen=True)
class ChancesTest:
    """How true the chances of `for_you` were in the holdout of a backtest.

    Attributes:
        days: of the holdout, within which a chance is a chance.
        candidate: None if there is nothing to test on.
        incumbent: None if there is no incumbent, or if it has no chances for as many days.
    """

    days: int
    candidate: Reliability | None
    incumbent: Reliability | None = None

    def as_dict(self) -> dict[str, Any]:
        """As a manifest stores it."""
        both = {"candidate": self.candidate, "incumbent": self.incumbent}
        return {
            "days": self.days,
            **{name: each.as_dict() if each is not None else None for name, each in both.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> "ChancesTest | None":
        """What `as_dict` made; None if nothing is stored, because an earlier version of the package trained."""
        if stored is None:
            return None
        both = {
            name: Reliability.from_dict(stored[name]) if stored[name] else None for name in ("candidate", "incumbent")
        }
        return cls(int(stored["days"]), **both)


def with_chances(
    model: TrainedModel,
    interactions: pd.DataFrame,
    truth: Holdout,
    *,
    top_n: int = DEPTH,
    looks: pd.DataFrame | None = None,
) -> tuple[TrainedModel, ChancesTest]:
    """Fits a candidate's chances, and tests them.

    Args:
        model: trained on purchases before the holdout.
        interactions: columns of `columns.Interactions`.
        truth: the holdout.
        top_n: length of the lists that are served.
        looks: columns of `columns.Looks`; only a model that reads them needs any.

    Returns:
        The model with its chances, and the test.
    """
    days, pairs = _days(truth), _pairs(model, interactions, truth, top_n, looks)
    chance = out_of_fold(pairs, days)
    tested = ~np.isnan(chance) & (pairs.rank < top_n)
    found = reliability(chance[tested], pairs.bought[tested], pairs.customer[tested])
    return replace(model, chances=fit_chances(pairs, days)), ChancesTest(days, found)


def as_served(
    model: TrainedModel,
    interactions: pd.DataFrame,
    truth: Holdout,
    *,
    top_n: int = DEPTH,
    looks: pd.DataFrame | None = None,
) -> Reliability | None:
    """Tests the chances of a model that was trained, and whose chances were fitted, before the holdout.

    Args:
        model: the incumbent.
        interactions: columns of `columns.Interactions`.
        truth: the holdout.
        top_n: length of the lists that are served.
        looks: columns of `columns.Looks`; only a model that reads them needs any.

    Returns:
        None if the model has no chances for as many days.
    """
    if model.chances is None or model.chances.days != _days(truth):
        return None
    pairs = _pairs(model, interactions, truth, top_n, looks)
    pairs = pairs.where(pairs.rank < top_n)
    return reliability(model.chances.of(pairs.facts), pairs.bought, pairs.customer)


def _days(truth: Holdout) -> int:
    return round((truth.end - truth.start).total_seconds() / 86_400)


def _pairs(
    model: TrainedModel, interactions: pd.DataFrame, truth: Holdout, top_n: int, looks: pd.DataFrame | None
) -> Pairs:
    maker = ListMaker(model, interactions, truth.start, looks=looks)
    customers = sampled(maker.state.known_customers)
    return best_pairs(maker.scorer, maker.state, customers, truth.bought[FOR_YOU], depth=max(top_n, DEPTH))
