"""Reads an ensemble of trees from LightGBM's text, and scores candidates with it.

LightGBM itself ends the process if a text is cut or edited, and needs more than twice the processor's time: it walks
down each tree for each candidate. Here, a tree is a set of bits, one for each leaf. Each comparison that fails takes
away the leaves on its left, and the first leaf that remains is the candidate's (Lucchese et al. 2015, "QuickScorer: A
Fast Algorithm to Rank Documents with Additive Ensembles of Regression Trees"). Features are float16, so what a value
takes away is looked up. What the features of a product, or of a customer, take away is the same for all candidates that
have them: it is computed once for each row of `FeatureRows.blocks`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.events import FloatArray, IntArray
from ncf_pipeline.model.features.tables import Block, FeatureRows

MAX_LEAVES = 64
"""Of a tree: one bit each."""

TREES_AT_ONCE = 16
"""The number of trees is filled up to a multiple of this, so that loops over them have no rest."""

Bits = npt.NDArray[np.unsignedinteger[Any]]

_FLOAT16 = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
_VALUES = np.where(np.isnan(_FLOAT16), 0.0, _FLOAT16)
"""Each float16 by its bits; what is no number counts as 0, as in LightGBM."""


@dataclass(frozen=True)
class Tree:
    """A binary tree; node 0 is the root, and child -1 - l is leaf l.

    Attributes:
        feature: (N,) of each node's comparison.
        threshold: (N,) a value up to the threshold goes left, another one right.
        children: (N, 2) left and right.
        values: (N + 1,) of the leaves.
    """

    feature: npt.NDArray[np.int64]
    threshold: FloatArray
    children: npt.NDArray[np.int64]
    values: FloatArray

    def leaves(self) -> tuple[list[int], list[int]]:
        """Returns the leaves from left to right, and of each node the bits of the leaves on its left.

        Raises:
            ValueError: nodes and leaves are not one tree.
        """
        order: list[int] = []
        first, middle = [-1] * len(self.feature), [-1] * len(self.feature)
        path = [(0 if len(self.feature) else -1, 0)]  # a node, and how many of its children are behind us
        while path:
            node, done = path.pop()
            if node < 0:
                order.append(-1 - node)
                continue
            if done == 0:
                if first[node] >= 0:
                    raise ValueError(f"node {node} has two parents")
                first[node] = len(order)
            elif done == 1:
                middle[node] = len(order)
            if done < 2:
                path += [(node, done + 1), (int(self.children[node, done]), 0)]
        if sorted(order) != list(range(len(self.values))) or min(first, default=0) < 0:
            raise ValueError("its nodes and leaves are not one tree")
        return order, [(1 << end) - (1 << begin) for begin, end in zip(first, middle, strict=True)]


class Ensemble:
    """T trees whose values are summed.

    Args:
        trees: with up to `MAX_LEAVES` leaves each.
        features: F, the number of features.

    Raises:
        ValueError: a tree is not one, or has too many leaves.
    """

    def __init__(self, trees: Sequence[Tree], features: int) -> None:
        most = max((len(tree.values) for tree in trees), default=1)
        if most > MAX_LEAVES:
            raise ValueError(f"a tree has {most} leaves; at most {MAX_LEAVES} can be read")
        kind: Any = np.uint32 if most <= 32 else np.uint64
        self.values = np.zeros((-(-len(trees) // TREES_AT_ONCE) * TREES_AT_ONCE, most))  # further trees add nothing
        self._kept: tuple[npt.NDArray[np.float16], Bits] | None = None
        nodes: list[list[tuple[float, int, int]]] = [[] for _ in range(features)]
        for number, tree in enumerate(trees):
            try:
                order, on_the_left = tree.leaves()
            except ValueError as error:
                raise ValueError(f"tree {number}: {error}") from error
            self.values[number, : len(order)] = tree.values[order]
            comparisons = zip(tree.feature.tolist(), tree.threshold.tolist(), on_the_left, strict=True)
            for feature, threshold, bits in comparisons:
                nodes[feature].append((threshold, number, bits))
        # For each feature that is asked for: how many of its thresholds each float16 passes, and for each such number
        # the leaves that remain of each tree (T,).
        everything = kind(np.iinfo(kind).max)
        self.asked = np.array([feature for feature, of_feature in enumerate(nodes) if of_feature], np.int64)
        passed, tables = [np.zeros((0, 1 << 16), np.uint16)], [np.zeros((0, len(self.values)), kind)]
        for feature in self.asked.tolist():
            thresholds = np.unique([threshold for threshold, _, _ in nodes[feature]])
            left = np.full((len(thresholds) + 1, len(self.values)), everything, kind)
            for threshold, number, bits in nodes[feature]:
                left[int(np.searchsorted(thresholds, threshold)) + 1 :, number] &= kind(~bits & int(everything))
            tables.append(left)
            passed.append(np.searchsorted(thresholds, _VALUES, side="left").astype(np.uint16)[None])
        self.passed, self.tables = np.concatenate(passed), np.concatenate(tables)
        self.table_start = np.cumsum([0, *map(len, tables[1:])])[:-1]

    def scores(self, features: FeatureRows) -> FloatArray:
        """Sums the values of the trees.

        Args:
            features: (R, F).

        Returns:
            (R,).
        """
        shared, rows, own = [], [], []
        first = 0
        for block in features.blocks:
            width = block.table.shape[1]
            if block.row is None:
                own.append((first, block.table))
            else:
                shared.append(self._left_of(block, first))
                rows.append(block.row)
            first += width
        if not shared:  # all leaves, for every candidate
            shared.append(np.full((1, len(self.values)), np.iinfo(self.tables.dtype).max, self.tables.dtype))
            rows.append(np.zeros(len(features), np.int32))
        columns = np.concatenate([first + np.arange(table.shape[1]) for first, table in own] or [np.zeros(0, np.int64)])
        table = np.concatenate([table for _, table in own], axis=1) if own else np.zeros((len(features), 0), np.float16)
        numbers, feature_of = self._asked_of(columns)
        rest = -len(numbers) % kernels.FEATURES_AT_ONCE  # to ask twice for the same changes nothing
        numbers, feature_of = (np.append(part, np.repeat(part[:1], rest)) for part in (numbers, feature_of))
        scores = np.empty(len(features))
        kernels.leaf_sums(
            tuple(left.ravel() for left in shared), np.stack(rows).astype(np.int32), _bits(table), numbers, feature_of,
            self.passed, self.table_start, self.tables, self.values, scores,
        )  # fmt: skip
        return scores

    def _left_of(self, block: Block, first: int) -> Bits:
        """(rows of the block's table, T) the leaves that they leave; `first` is the number of its first feature."""
        if self._kept is not None and self._kept[0] is block.table:
            return self._kept[1]
        left = np.empty((len(block.table), len(self.values)), self.tables.dtype)
        numbers, feature_of = self._asked_of(first + np.arange(block.table.shape[1]))
        kernels.leaves_left(_bits(block.table), numbers, feature_of, self.passed, self.table_start, self.tables, left)
        if block.of_products:
            self._kept = block.table, left
        return left

    def _asked_of(self, columns: IntArray) -> tuple[IntArray, IntArray]:
        """Which of some features are asked for: their places in `asked`, and in `columns`."""
        _, numbers, places = np.intersect1d(self.asked, columns, return_indices=True)
        return numbers, places

    @staticmethod
    def of_text(text: str, features: Sequence[str]) -> "Ensemble":
        """Reads an ensemble for one class, without categories and without missing values.

        Args:
            text: as LightGBM writes it.
            features: names of the columns that it must have been trained on.

        Raises:
            ValueError: the text is not whole, or is of something else.
        """
        head, *parts = text.split("\nTree=")
        facts = _facts(head)
        if facts.get("tree") != "" or facts.get("num_class") != "1" or "\nend of trees\n" not in text:
            raise ValueError("the text is not LightGBM's, or not whole")
        if facts.get("feature_names", "").split() != list(features):
            raise ValueError("they are of other features")
        if len(parts) != len(facts.get("tree_sizes", "").split()):
            raise ValueError(f"the text has {len(parts)} trees, and says that it has others")
        trees = []
        for number, part in enumerate(parts):
            try:
                trees.append(_tree(part, number, len(features)))
            except (KeyError, ValueError) as error:
                raise ValueError(f"tree {number}: {error}") from error
        return Ensemble(trees, len(features))


def _bits(table: npt.NDArray[np.float16]) -> npt.NDArray[np.uint16]:
    return np.ascontiguousarray(table, np.float16).view(np.uint16)


def _facts(lines: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in lines.splitlines())}


def _tree(text: str, number: int, features: int) -> Tree:
    name, _, lines = text.partition("\n\n")[0].partition("\n")
    if name != str(number):
        raise ValueError(f"it is called {name!r}")
    facts = _facts(lines)
    leaves = int(facts["num_leaves"])
    nodes = leaves - 1
    if nodes < 0 or int(facts["num_cat"]) != 0 or int(facts["is_linear"]) != 0:
        raise ValueError("it has no leaf, or categories, or is linear")

    def numbers(name: str, count: int, kind: Any) -> npt.NDArray[Any]:
        words = facts[name].split() if count else []
        if len(words) != count or not all(re.fullmatch(r"[-+.0-9a-z]+", word) for word in words):
            raise ValueError(f"{name} has not {count} numbers")
        return np.array([float(word) for word in words]).astype(kind)

    feature, kinds = numbers("split_feature", nodes, np.int64), numbers("decision_type", nodes, np.int64)
    threshold, values = numbers("threshold", nodes, np.float64), numbers("leaf_value", leaves, np.float64)
    children = np.stack([numbers(f"{side}_child", nodes, np.int64) for side in ("left", "right")], axis=1)
    if not np.isfinite(values).all() or np.isnan(threshold).any():
        raise ValueError("a number is not finite")
    if (kinds & ~2).any():
        raise ValueError("a comparison is of categories or of missing values")
    if ((feature < 0) | (feature >= features)).any() or ((children < -leaves) | (children >= nodes)).any():
        raise ValueError("it names a feature, a node or a leaf that is not there")
    return Tree(feature, threshold, children, values)
