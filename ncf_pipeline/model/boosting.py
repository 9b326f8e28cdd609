"""Gradient-boosted trees, the model's second voice beside the network: what either misses, the other may see.

Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree". For each question, an ensemble learns
the chance that a candidate is bought in the horizon. It learns from the network's own queries, candidates and features,
but knows no ids. The score of a candidate is

    (logsoftmax(network) + w logsoftmax(trees)) / (1 + w)

over the customer's candidates of that question: a logarithmic opinion pool (Genest & Zidek 1986, "Combining Probability
Distributions"), where w says how much the second voice counts. The division changes no order. With it, a score stays as
sure as a voice alone: what reads scores as log-chances, such as an order by expected revenue, may go on doing so.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ncf_pipeline.columns import DISCOVER, FOR_YOU
from ncf_pipeline.errors import SettingsError
from ncf_pipeline.model import kernels
from ncf_pipeline.model.ensembles import Ensemble
from ncf_pipeline.model.features.contexts import Contexts
from ncf_pipeline.model.features.events import DAY, FloatArray, IntArray
from ncf_pipeline.model.features.queries import Chunk
from ncf_pipeline.model.features.state import Mask
from ncf_pipeline.model.features.tables import FEATURES, FeatureRows, feature_names
from ncf_pipeline.model.libraries import library
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD
from ncf_pipeline.model.recipe import Recipe

logger = logging.getLogger(__name__)

HEADS = {FOR_YOU: FOR_YOU_HEAD, DISCOVER: DISCOVER_HEAD}
"""By question, the column of its scores."""

ROWS_AT_ONCE = 1 << 15
"""Candidates whose features are converted for LightGBM at once."""

BINNED_BY = 100_000
"""Candidates whose features decide on the bins: LightGBM asks for them one by one, which takes a while."""


class Trees:
    """The ensembles of a model, and their text, from which they are made again bit by bit.

    Args:
        texts: by question, an ensemble as LightGBM writes it.
        features: names of the columns that they must have been trained on.

    Raises:
        ValueError: a text is not an ensemble over this version's features.
    """

    def __init__(self, texts: Mapping[str, str], features: Sequence[str] = FEATURES) -> None:
        self.texts = dict(texts)
        self._ensembles = {question: _read(question, text, features) for question, text in self.texts.items()}

    def scores(self, contexts: Contexts) -> dict[str, FloatArray]:
        """Scores candidates.

        Args:
            contexts: of B customers, with R candidates.

        Returns:
            By question, the log-odds (R,) that a candidate is bought.
        """
        return {question: ensemble.scores(contexts.features) for question, ensemble in self._ensembles.items()}


def _read(question: str, text: str, features: Sequence[str]) -> Ensemble:
    if question not in HEADS:
        raise ValueError(f"there are trees for {question!r}, which is no question")
    try:
        return Ensemble.of_text(text, features)
    except ValueError as error:
        raise ValueError(f"the trees for {question} cannot be read: {error}") from error


def with_trees(
    scores: npt.NDArray[np.floating[Any]], trees: Trees, contexts: Contexts, recipe: Recipe
) -> npt.NDArray[np.float64]:
    """Adds what the trees say to the scores of a network.

    Args:
        scores: (R, 2) of the network.
        trees: of the same model.
        contexts: of B customers, with R candidates.
        recipe: `trees_weight` and `discover_trees_weight`.

    Returns:
        (R, 2) (logsoftmax(network) + w logsoftmax(trees)) / (1 + w), over the customer's candidates, and for `discover`
        over those that are new to the customer. What is not new there has a score too, which counts for nothing. A
        question without trees keeps the network's scores.
    """
    both = scores.astype(np.float64)
    among = {FOR_YOU: np.ones_like(contexts.seen), DISCOVER: ~contexts.seen}
    weights = weights_of(recipe)
    for question, of_trees in trees.scores(contexts).items():
        head, rows, weight = HEADS[question], among[question], weights[question]
        network = log_softmax(both[:, head], contexts.start, rows)
        second = log_softmax(of_trees, contexts.start, rows)
        both[:, head] = (network + weight * second) / (1 + weight)
    return both


def log_softmax(scores: FloatArray, start: IntArray, among: Mask) -> FloatArray:
    """Scores less the log of the sum of exp(score) over the candidates of a customer that count.

    Args:
        scores: (R,) of candidates.
        start: (B + 1,) the candidates of customer b are rows start[b] to start[b + 1].
        among: (R,) which candidates count; the others are shifted as much.

    >>> log_softmax(np.log([1.0, 3.0, 4.0]), np.array([0, 2, 3]), np.array([True, True, True])).round(3).tolist()
    [-1.386, -0.288, 0.0]
    """
    highest, total, shifted = np.empty(len(start) - 1), np.empty(len(start) - 1), np.empty(len(scores))
    kernels.highest_of_groups(scores, start, among, highest)
    some = np.isfinite(highest)  # of a broken network, which the gate holds, nothing is a number
    highest[~some] = 0.0
    kernels.less_of_groups(scores, start, highest, shifted)
    with np.errstate(over="ignore"):  # of what does not count
        kernels.sums_of_groups(np.exp(shifted), start, among, total)
    total[~some] = 1.0
    kernels.less_of_groups(scores, start, highest + np.log(total), shifted)
    return shifted


def weights_of(recipe: Recipe) -> dict[str, float]:
    """By question, how much the trees count beside the network."""
    return {FOR_YOU: recipe.trees_weight, DISCOVER: recipe.discover_trees_weight}


def has_trees(recipe: Recipe) -> bool:
    """Whether a model of this recipe has trees beside its network."""
    return any(weights_of(recipe).values())


def train_trees(chunks: Sequence[Chunk], until: int, recipe: Recipe) -> Trees | None:
    """Trains the trees of a model on the queries of its network.

    The same queries and recipe give the same trees.

    Args:
        chunks: of queries; none may have an answer from `until` on.
        until: microseconds; the longer before it a query is, the smaller its weight.
        recipe: every hyper-parameter.

    Returns:
        The trees of each question that has a weight and something to learn from; None if there is no such question.

    Raises:
        SettingsError: LightGBM cannot be imported.
    """
    texts = {}
    for question, weight in weights_of(recipe).items():
        if weight == 0:
            continue
        started = time.perf_counter()
        parts = list(examples(chunks, until, recipe, question))
        if any(part.bought.any() for part in parts):
            texts[question] = _trained(parts, recipe)
            candidates, seconds = sum(len(part.rows) for part in parts), time.perf_counter() - started
            logger.info("Trees for %s: %s candidates, %.1f s", question, f"{candidates:,}", seconds)
    return Trees(texts, feature_names(recipe)) if texts else None


@dataclass(frozen=True)
class Examples:
    """The candidates of a chunk that trees learn from.

    Attributes:
        features: (R, F) of all candidates of the chunk.
        rows: (N,) the candidates that were chosen, ascending.
        bought: (N,) whether the candidate was bought in the horizon.
        weight: (N,) of the candidate in the loss.
    """

    features: FeatureRows
    rows: IntArray
    bought: Mask
    weight: FloatArray


def examples(chunks: Sequence[Chunk], until: int, recipe: Recipe, question: str) -> Iterator[Examples]:
    """Chooses what the trees of a question learn from, chunk by chunk.

    Only queries with an answer teach something. A query counts by its recency, and less the more was bought, so that
    the largest baskets do not decide everything. Candidates that the customer buys, or bought before, always take part;
    of the others a share does, and counts as much more: the expected loss is that of all candidates. If the candidates
    are more than `trees_candidates`, so many queries are left out at random.

    Args:
        chunks: of queries.
        until: microseconds; the cutoff of the training.
        recipe: `seed`, `recency_days`, `trees_negative_share` and `trees_candidates`.
        question: `for_you`, of all candidates, or `discover`, of those new to the customer.
    """
    random = np.random.default_rng([recipe.seed, HEADS[question]])
    share_of_queries = min(1.0, recipe.trees_candidates / max(1.0, _expected(chunks, recipe, question)))
    for chunk in chunks:
        seen = chunk.contexts.seen
        query, among, positives = _asked(chunk, question)
        kept = (positives > 0) & (random.random(len(positives)) < share_of_queries)
        always = chunk.positive | seen
        rows = np.flatnonzero(among & kept[query] & (always | (random.random(len(seen)) < recipe.trees_negative_share)))
        of_query = np.exp(-(until - chunk.at) / DAY / recipe.recency_days) / np.sqrt(np.maximum(positives, 1))
        weight = of_query[query[rows]] * np.where(always[rows], 1.0, 1 / recipe.trees_negative_share)
        yield Examples(chunk.contexts.features, rows, chunk.positive[rows], weight)


def _asked(chunk: Chunk, question: str) -> tuple[IntArray, Mask, IntArray]:
    """(R,) the query of each candidate, (R,) which candidates the question is about, (B,) answers of each query."""
    contexts = chunk.contexts
    query = np.repeat(np.arange(len(contexts.customer)), np.diff(contexts.start))
    among: Mask = ~contexts.seen if question == DISCOVER else np.ones_like(contexts.seen)
    return query, among, np.bincount(query[chunk.positive & among], minlength=len(contexts.customer))


def _expected(chunks: Sequence[Chunk], recipe: Recipe, question: str) -> float:
    """How many candidates all answered queries have after sampling, on average."""
    total = 0.0
    for chunk in chunks:
        query, among, positives = _asked(chunk, question)
        asked = among & (positives > 0)[query]
        always = int((asked & (chunk.positive | chunk.contexts.seen)).sum())
        total += always + recipe.trees_negative_share * (int(asked.sum()) - always)
    return total


class _Rows:
    """Rows that LightGBM reads in parts: a whole table of them in float32 would take more than the training itself."""

    batch_size = ROWS_AT_ONCE

    def __init__(self, part: Examples) -> None:
        self.part = part

    def __len__(self) -> int:
        return len(self.part.rows)

    def __getitem__(self, which: int | slice) -> npt.NDArray[np.floating[Any]]:
        # A single row is for the bounds of the bins, which LightGBM computes in float64.
        kind = np.float32 if isinstance(which, slice) else np.float64
        return self.part.features[self.part.rows[which]].astype(kind)


def _trained(parts: Sequence[Examples], recipe: Recipe) -> str:
    """Trains an ensemble; returns its text."""
    lightgbm = import_lightgbm()
    lightgbm.register_logger(logger)  # it would print otherwise, also into --json
    lightgbm.Sequence.register(_Rows)
    weight = np.concatenate([part.weight for part in parts])
    parameters = {
        "objective": "binary",
        "learning_rate": recipe.trees_learning_rate,
        "num_leaves": recipe.trees_leaves,
        "min_data_in_leaf": recipe.trees_min_candidates,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": 10.0,
        "bin_construct_sample_cnt": BINNED_BY,
        "seed": recipe.seed,
        "num_threads": torch.get_num_threads(),
        # Bit by bit the same: the order of sums must not depend on which of two methods was measured to be faster.
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    dataset = lightgbm.Dataset(
        [_Rows(part) for part in parts if len(part.rows)],
        np.concatenate([part.bought for part in parts]).astype(np.float32),
        weight=weight / weight.mean(),
        feature_name=list(feature_names(recipe)),
        params=parameters,
    )
    text: str = lightgbm.train(parameters, dataset, recipe.trees_rounds).model_to_string()
    # The trees do not depend on the number of threads, so their text shall not either.
    return text.replace(f"[num_threads: {parameters['num_threads']}]", "[num_threads: 0]")


def import_lightgbm() -> Any:
    """Imports LightGBM.

    Raises:
        SettingsError: it is not installed, or misses a system library.
    """
    # torch is imported above: its OpenMP then serves LightGBM too, and the threads of both are the same.
    without = "train the network alone: NCF_TREES=false"
    try:
        return library("lightgbm", without)
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed. Install the extra pipeline anew, or {without}.") from error
