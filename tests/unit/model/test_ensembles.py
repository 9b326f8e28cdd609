"""Ensembles are read from LightGBM's text and score as it does, on every float16."""

import numpy as np
import pytest

from ncf_pipeline.model.ensembles import MAX_LEAVES, Ensemble, Tree
from ncf_pipeline.model.features.tables import Block, FeatureRows

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def tree(feature, threshold, children, values):
    return Tree(np.array(feature, int), np.array(threshold, float), np.array(children).reshape(-1, 2), np.array(values))


# If a is up to 1: leaf 2 (10). Otherwise, if b is up to 5: leaf 0 (20), else leaf 1 (40).
BY_HAND = tree([0, 1], [1.0, 5.0], [[-3, 1], [-1, -2]], [20.0, 40.0, 10.0])
CONSTANT = tree([], [], [], [0.5])


def test_a_tree_by_hand():
    rows = np.array([[1, 9], [1.001, 5], [2, 5.004], [-np.inf, 0], [np.inf, np.inf]], np.float16)
    assert Ensemble([BY_HAND], 2).scores(FeatureRows.of(rows)).tolist() == [10, 20, 40, 10, 40]
    several = Ensemble([BY_HAND, CONSTANT, BY_HAND], 2)
    assert several.scores(FeatureRows.of(rows)).tolist() == [20.5, 40.5, 80.5, 20.5, 80.5]
    assert Ensemble([CONSTANT], 2).scores(FeatureRows.of(rows)).tolist() == [0.5] * 5
    assert Ensemble([BY_HAND], 2).scores(FeatureRows.of(rows[:0])).tolist() == []


def test_no_number_counts_as_zero():
    assert Ensemble([BY_HAND], 2).scores(FeatureRows.of(np.array([[np.nan, 9]], np.float16))).tolist() == [10]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (tree([0, 1], [1, 5], [[1, 1], [-1, -2]], [20, 40, 10]), "node 1 has two parents"),
        (tree([0, 1], [1, 5], [[-3, 0], [-1, -2]], [20, 40, 10]), "node 0 has two parents"),
        (tree([0, 1], [1, 5], [[-3, -1], [-1, -2]], [20, 40, 10]), "are not one tree"),
        (tree([0, 1], [1, 5], [[-3, 1], [-3, -2]], [20, 40, 10]), "are not one tree"),
    ],
)
def test_what_is_no_tree_is_refused(broken, says):
    with pytest.raises(ValueError, match=says):
        Ensemble([broken], 2)


def chain(leaves):
    """Each comparison parts one leaf off: value n for n below the feature."""
    nodes = leaves - 1
    children = [[-1 - n, n + 1] for n in range(nodes)]
    children[-1][1] = -leaves
    return tree([0] * nodes, range(nodes), children, np.arange(leaves, dtype=float))


@pytest.mark.parametrize("leaves", [2, 31, 32, 33, MAX_LEAVES])
def test_trees_of_every_size_are_read(leaves):
    rows = np.arange(-3, leaves + 3, dtype=np.float16)[:, None]
    expected = np.clip(np.ceil(rows[:, 0].astype(float)), 0, leaves - 1)
    assert Ensemble([chain(leaves)], 1).scores(FeatureRows.of(rows)).tolist() == expected.tolist()


def test_a_tree_with_more_leaves_is_refused():
    with pytest.raises(ValueError, match="a tree has 65 leaves; at most 64"):
        Ensemble([chain(MAX_LEAVES + 1)], 1)


def test_every_float16_is_scored_as_by_lightgbm():
    lightgbm = pytest.importorskip("lightgbm")
    random = np.random.default_rng(0)
    rows = random.normal(size=(4000, 3)).astype(np.float16)
    answers = (rows.sum(axis=1) + random.normal(size=4000) > 0).astype(np.float32)
    names = ["one", "two", "three"]
    dataset = lightgbm.Dataset(rows.astype(np.float32), answers, feature_name=names)
    options = {"objective": "binary", "num_leaves": 40, "verbose": -1, "num_threads": 1, "seed": 0}
    booster = lightgbm.train(options, dataset, 30)
    ensemble = Ensemble.of_text(booster.model_to_string(), names)
    numbers = EVERY[~np.isnan(EVERY)]
    for column in range(3):
        rows = np.zeros((len(numbers), 3), np.float16)
        rows[:, column] = numbers
        expected = booster.predict(rows.astype(np.float32), raw_score=True)
        assert ensemble.scores(FeatureRows.of(rows)) == pytest.approx(expected)


@pytest.mark.parametrize("leaves", [2, 31, 64])
@pytest.mark.parametrize("count", [1, 16, 37])
def test_shared_features_are_scored_as_if_each_candidate_had_its_own(count, leaves):
    random = np.random.default_rng(count)
    trees = []
    for _ in range(count):
        each = chain(leaves)
        feature = random.integers(9, size=leaves - 1)
        trees.append(Tree(feature, random.normal(size=leaves - 1), each.children, random.normal(size=leaves)))
    ensemble = Ensemble(trees, 9)
    of_pair, of_product, own = (random.normal(size=size).astype(np.float16) for size in ((5, 2), (7, 3), (150, 4)))
    pair, product = random.integers(5, size=150), random.integers(7, size=150)
    of_products = Block(of_product, product, of_products=True)
    shared = FeatureRows(Block(of_pair, pair.astype(np.int32)), of_products, Block(own, None))
    expected = [sum((walked(tree, row.astype(float)) for tree in trees), 0.0) for row in shared[:]]
    for rows in (shared, FeatureRows.of(shared[:])):
        assert ensemble.scores(rows).tolist() == expected
    assert ensemble.scores(shared).tolist() == expected  # what was kept of the products
    other = FeatureRows(*shared.blocks[:1], Block(of_product + 1, product, of_products=True), shared.blocks[2])
    assert ensemble.scores(other).tolist() == ensemble.scores(FeatureRows.of(other[:])).tolist() != expected


def walked(tree, row):
    """The value of the leaf that a row reaches, comparison by comparison."""
    node = 0
    while node >= 0:
        node = tree.children[node, int(row[tree.feature[node]] > tree.threshold[node])]
    return tree.values[-1 - node]
