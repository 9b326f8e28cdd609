"""How much a refit recommends of what the evaluated model recommends, beside what two seeds have in common.

A refit cannot be evaluated: no holdout is left. So it must agree with the model that was. How much two good models
agree depends on the shop and on K, and chance decides more where there is little to learn from. So the measure is that
of two models of different seeds that were trained on the same purchases.

Training a second seed takes time, so it is done only if the decision needs it. Two models cannot share more than
everything: a refit that shares enough by that measure is let through without a second seed. And a measure is used again
for later versions of the same recipe, number of epochs, features and K, if they have about as many lines.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from ncf_pipeline.columns import FOR_YOU, Interactions
from ncf_pipeline.errors import DamagedModelError, OutdatedModelError
from ncf_pipeline.evaluation.scores import agreement
from ncf_pipeline.model.features.tables import feature_names
from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

REFIT = "refit_agreement"
"""The key of a refit's manifest that holds a `RefitAgreement`."""

COMPARED_CUSTOMERS = 1000
SIMILAR_LINES = 0.2
"""A measure is used again for up to this share of lines more or fewer."""

_MANIFESTS_READ = 26
"""Versions whose manifests are searched for a measure, the newest first."""


@dataclass(frozen=True)
class TwoSeeds:
    """How much two models of different seeds, trained on the same purchases, have in common.

    Attributes:
        shared: mean share of a customer's first `k` products of `for_you`, in [0, 1].
        k: depth.
        measured_with: number of the version whose backtest was one of the two.
        lines: interactions that both were trained on.
        epochs: of both.
    """

    shared: float
    k: int
    measured_with: int
    lines: int | None
    epochs: int


@dataclass(frozen=True)
class RefitAgreement:
    """How much a refit and the evaluated model have in common, and what that is compared with.

    Attributes:
        shared: mean share of a customer's first `k` products of `for_you`, in [0, 1].
        k: depth.
        two_seeds: None if the decision did not need it.
    """

    shared: float
    k: int
    two_seeds: TwoSeeds | None

    def as_dict(self) -> dict[str, Any]:
        """As a manifest stores it."""
        return asdict(self)

    def sentence(self) -> str:
        """As a model card says it."""
        line = f"The refit shares {self.shared:.1%} of its first {self.k} recommendations with the evaluated model"
        if self.two_seeds is None:
            return f"{line}."
        return f"{line}; two seeds share {self.two_seeds.shared:.1%}, as measured with v{self.two_seeds.measured_with}."


def shared_by(
    one: TrainedModel,
    other: TrainedModel,
    interactions: pd.DataFrame,
    as_of: datetime,
    *,
    k: int,
    looks: pd.DataFrame | None = None,
) -> float:
    """Share of the first `k` of `for_you` that two models have in common, over the latest customers.

    Args:
        one: a model.
        other: another.
        interactions: of the snapshot, in the columns of `columns.Interactions`.
        as_of: the instant at which both recommend.
        k: depth.
        looks: of the snapshot, in the columns of `columns.Looks`; only models that read them need any.
    """
    in_order = interactions.sort_values(Interactions.PURCHASED_AT)[Interactions.CUSTOMER_ID].dropna()
    customers = in_order.drop_duplicates(keep="last").tail(COMPARED_CUSTOMERS).tolist()
    left, right = (
        customer_lists(each, interactions, as_of, k, customers=customers, looks=looks) for each in (one, other)
    )
    return agreement(left, right, question=FOR_YOU, k=k)


def of_two_seeds(
    settings: Settings,
    version: int,
    evaluated: TrainedModel,
    interactions: pd.DataFrame,
    as_of: datetime,
    train_other: Callable[[], TrainedModel],
    *,
    k: int,
    looks: pd.DataFrame | None = None,
) -> TwoSeeds:
    """Finds the measure of an earlier version, or makes one.

    Args:
        settings: whose registry and artifact store are searched.
        version: whose refit is judged.
        evaluated: its backtest.
        interactions: of its snapshot.
        as_of: the instant at which both recommend: that of the refit.
        train_other: trains on the same purchases for as many epochs, with another seed.
        k: depth.
        looks: of its snapshot, in the columns of `columns.Looks`.

    Raises:
        TrainingError: training failed.
        ArtifactError: the artifact store does not answer.
    """
    found = stored_measure(settings, version, evaluated, k)
    if found is not None:
        logger.info("Two seeds share %.1f%%, as measured with v%d.", 100 * found.shared, found.measured_with)
        return found
    logger.info("How much two seeds have in common is not known: training a second one.")
    other = train_other()
    shared = shared_by(evaluated, other, interactions, as_of, k=k, looks=looks)
    logger.info("Two seeds share %.1f%%.", 100 * shared)
    return TwoSeeds(shared, k, version, evaluated.lines, evaluated.epochs)


def stored_measure(settings: Settings, version: int, evaluated: TrainedModel, k: int) -> TwoSeeds | None:
    """The newest measure that an earlier version has stored and that fits; None if there is none.

    Raises:
        ArtifactError: the artifact store does not answer.
    """
    earlier = [entry for entry in registry.model_versions(settings) if entry.version < version and entry.url]
    for entry in earlier[:_MANIFESTS_READ]:
        try:
            manifest = artifacts.read_manifest(str(entry.url), known=KnownManifests(settings, entry.version))
        except (DamagedModelError, OutdatedModelError):
            continue
        stored = (manifest.get(REFIT) or {}).get("two_seeds")
        if stored is None:
            continue
        measure = TwoSeeds(**stored)
        if _made_alike(manifest["config"], evaluated) and _fits(measure, evaluated, k):
            return measure
    return None


def _made_alike(config: dict[str, Any], evaluated: TrainedModel) -> bool:
    """Whether a model with that config has the recipe of the evaluated one, whatever its seed, and today's features."""
    unimportant = {"seed": None}
    theirs, ours = config["recipe"] | unimportant, evaluated.state().config["recipe"] | unimportant
    return bool(theirs == ours and config["features"] == list(feature_names(evaluated.recipe)))


def _fits(measure: TwoSeeds, evaluated: TrainedModel, k: int) -> bool:
    if measure.k != k or measure.epochs != evaluated.epochs or not measure.lines or not evaluated.lines:
        return False
    return abs(evaluated.lines - measure.lines) <= SIMILAR_LINES * measure.lines
