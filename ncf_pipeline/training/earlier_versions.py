"""The earlier versions that a candidate is compared with on its holdout: the incumbent, and the best recent one.

If each version may be a little worse than the one before, small losses add up. The best version of the last weeks
shows it: the candidate is compared with that one too, on the same holdout. Weeks are those of the cutoffs, so a replay
of past days compares the same versions.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pandas as pd

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import DamagedModelError, OutdatedModelError
from ncf_pipeline.evaluation.gate import RECENT_VERSIONS
from ncf_pipeline.evaluation.scores import BEST_RECENT, QUESTIONS, Holdout, Scores, score_by_customer
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.versions import ModelVersion
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

Recommend = Callable[[TrainedModel], pd.DataFrame]


@dataclass(frozen=True)
class BestRecent:
    """The best recent version of each question, in which the incumbent is not the best itself.

    Attributes:
        lists: of these versions, in the columns of `columns.Lists`: `for_you` and `discover` may be of two versions.
        best: the version by question.
        scored: the versions that were scored, newest first, without the incumbent.
        skipped: the versions that can no longer score, with the reason.
    """

    lists: pd.DataFrame = field(repr=False)
    best: Mapping[str, int]
    scored: tuple[int, ...]
    skipped: Mapping[int, str]

    def as_dict(self) -> dict[str, Any]:
        """As a manifest and the decision's details store it."""
        return {
            "best": dict(self.best),
            "scored": list(self.scored),
            "skipped": {str(version): reason for version, reason in self.skipped.items()},
        }

    def of_interest(self, scores: Sequence[Scores]) -> list[Scores]:
        """The scores without rows of `BEST_RECENT` for a question that has no such version."""
        return [each for each in scores if each.recommender != BEST_RECENT or each.question in self.best]


def load_incumbent(
    settings: Settings, candidate: ModelVersion
) -> tuple[ModelVersion | None, TrainedModel | None, str | None]:
    """Loads the incumbent. If there is one that can no longer score, returns the reason instead of a model.

    Such an incumbent must not hold every later model: the candidate is compared without it, and the decision says so.
    If the artifact store does not answer, the error is raised.
    """
    entry = registry.incumbent(settings, holdout_start=candidate.holdout_start, before_version=candidate.version)
    if entry is None or entry.url is None:
        return None, None, None
    model, reason = _loaded(settings, entry, f"the incumbent, {entry.name}, only with the baselines")
    return entry, model, reason


def best_recent(
    settings: Settings,
    candidate: ModelVersion,
    truth: Holdout,
    recommend: Recommend,
    *,
    k: int,
    incumbent: ModelVersion | None,
    incumbent_lists: pd.DataFrame | None,
) -> BestRecent:
    """Scores the versions that served in the last weeks and have not seen the holdout, and keeps the best lists.

    One model is in memory at a time.

    Args:
        settings: `gate_recent_weeks` is used.
        candidate: the version that they are compared with.
        truth: its holdout.
        recommend: makes a model's lists for the holdout's known customers.
        k: depth of Precision@k, by which the best is chosen.
        incumbent: is not scored again.
        incumbent_lists: of the incumbent; None if it can no longer score.
    """
    best: dict[str, int] = {}
    lists: dict[str, pd.DataFrame] = {}
    precision = dict.fromkeys(QUESTIONS, float("-inf"))
    if incumbent_lists is not None:
        precision = {question: _precision(incumbent_lists, truth, question, k) for question in QUESTIONS}
    scored: list[int] = []
    skipped: dict[int, str] = {}
    for entry in recent(settings, candidate):
        if incumbent is not None and entry.version == incumbent.version:
            continue
        model, reason = _loaded(settings, entry, f"{entry.name}, a recent version")
        if model is None:
            skipped[entry.version] = reason or ""
            continue
        made = recommend(model)
        del model
        scored.append(entry.version)
        for question in QUESTIONS:
            mean = _precision(made, truth, question, k)
            if mean > precision[question]:
                precision[question], best[question] = mean, entry.version
                lists[question] = made[made[Lists.LIST_NAME] == question]
    empty = pd.DataFrame(columns=list(Lists.ALL))
    return BestRecent(pd.concat(lists.values()) if lists else empty, best, tuple(scored), skipped)


def recent(settings: Settings, candidate: ModelVersion) -> list[ModelVersion]:
    """The versions of the last weeks that a candidate can be compared with: newest first, the incumbent among them.

    Of more than `RECENT_VERSIONS`, some are left out, evenly: not the newest, and not the oldest, which shows a slide
    best.
    """
    since = candidate.cutoff - timedelta(weeks=settings.gate_recent_weeks)
    found = [
        entry
        for entry in registry.comparable(
            settings, holdout_start=candidate.holdout_start, before_version=candidate.version
        )
        if entry.cutoff >= since and entry.url is not None  # version 0 has no model
    ]
    return evenly(found, RECENT_VERSIONS)


def evenly(entries: Sequence[ModelVersion], count: int) -> list[ModelVersion]:
    """At most `count` of the entries (at least 2), evenly spaced, the first and the last among them."""
    if len(entries) <= count:
        return list(entries)
    return [entries[round(place * (len(entries) - 1) / (count - 1))] for place in range(count)]


def _precision(lists: pd.DataFrame, truth: Holdout, question: str, k: int) -> float:
    # Newcomers see the same from every version, so without them the best is the same.
    return float(score_by_customer(lists, truth, question=question, k=k)["precision_at_k"].mean())


def _loaded(settings: Settings, entry: ModelVersion, what: str) -> tuple[TrainedModel | None, str | None]:
    try:
        return artifacts.load_model(str(entry.url), known=KnownManifests(settings, entry.version)), None
    except (DamagedModelError, OutdatedModelError) as error:
        reason = f"NO COMPARISON with {what}: {error}"
        logger.warning(reason)
        return None, reason
