"""The trees beside the network: what they learn from, what they add to a score, and their text."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from shop_with_tastes import CUTOFF

from ncf_pipeline.columns import DISCOVER, FOR_YOU
from ncf_pipeline.errors import SettingsError
from ncf_pipeline.model.boosting import Trees, examples, log_softmax, train_trees, with_trees
from ncf_pipeline.model.features.contexts import Contexts
from ncf_pipeline.model.features.events import DAY, encode, microseconds
from ncf_pipeline.model.features.tables import FEATURES, FeatureRows
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import all_queries

UNTIL = microseconds(CUTOFF)


@pytest.fixture(scope="module")
def recipe():
    return Recipe(popular_candidates=15, taste_candidates=5, max_instants=4, trees_rounds=20, trees_min_candidates=50)


@pytest.fixture(scope="module")
def chunks(shop, recipe):
    return all_queries(encode(shop, CUTOFF), UNTIL, recipe)


@pytest.fixture(scope="module")
def trees(chunks, recipe):
    return train_trees(chunks, UNTIL, recipe)


def contexts_of(seen, start):
    rows = len(seen)
    return Contexts(
        customer=np.arange(len(start) - 1),
        start=np.array(start),
        product=np.arange(rows),
        features=np.zeros((rows, len(FEATURES)), np.float16),
        bought=np.array(seen),
        seen=np.array(seen),
    )


class Said:
    """Trees that say what a test has them say."""

    def __init__(self, **scores):
        self.of_questions = {question: np.array(scores) for question, scores in scores.items()}

    def scores(self, contexts):
        return self.of_questions


def test_a_score_is_the_log_chance_of_the_network_and_a_part_of_that_of_the_trees():
    # Two customers, with three candidates and with two. The first one has bought the first candidate before.
    contexts = contexts_of([True, False, False, False, True], [0, 3, 5])
    network = np.log(np.array([[2, 9], [1, 1], [1, 3], [3, 1], [1, 9]], np.float32))
    said = Said(for_you=np.log([1.0, 2, 1, 1, 1]), discover=np.log([7.0, 3, 1, 1, 7]))
    both = with_trees(network, said, contexts, Recipe(trees_weight=0.5, discover_trees_weight=0.25))
    for_you = np.log([2 / 4, 1 / 4, 1 / 4, 3 / 4, 1 / 4]) + 0.5 * np.log([1 / 4, 2 / 4, 1 / 4, 1 / 2, 1 / 2])
    assert both[:, 0] == pytest.approx(for_you / 1.5)
    # Among what is new to the customer alone.
    new = ~contexts.seen
    discover = np.log([1 / 4, 3 / 4, 1]) + 0.25 * np.log([3 / 4, 1 / 4, 1])
    assert both[new, 1] == pytest.approx(discover / 1.25)
    assert np.isfinite(both).all()


def test_a_question_without_trees_keeps_the_scores_of_the_network():
    contexts = contexts_of([False, False], [0, 2])
    network = np.array([[1.5, -2.25], [0.1, 3.0]], np.float32)
    both = with_trees(network, Said(discover=[0.0, 1.0]), contexts, Recipe())
    assert both[:, 0].tolist() == network[:, 0].astype(float).tolist()
    assert both[0, 1] < both[1, 1]


def test_a_customer_without_candidates_or_without_new_ones_disturbs_nobody():
    start, among = np.array([0, 2, 2, 4, 5]), np.array([True, True, False, False, True])
    scores = log_softmax(np.array([0.0, 0.0, 1e4, -1e4, -800.0]), start, among)
    assert scores.tolist() == pytest.approx([-np.log(2), -np.log(2), 1e4, -1e4, 0.0])
    assert log_softmax(np.zeros(0), np.zeros(1, np.int64), np.zeros(0, np.bool_)).tolist() == []


def test_a_score_does_not_depend_on_who_else_is_scored(trees, chunks, recipe):
    contexts = chunks[0].contexts
    network = np.random.default_rng(0).normal(size=(len(contexts.product), 2)).astype(np.float32)
    everyone = with_trees(network, trees, contexts, recipe)
    for place in (0, 7, len(contexts.customer) - 1):
        part = slice(contexts.start[place], contexts.start[place + 1])
        alone = replace(
            contexts,
            customer=contexts.customer[place : place + 1],
            start=np.array([0, part.stop - part.start]),
            features=FeatureRows.of(contexts.features[part]),
            **{name: getattr(contexts, name)[part] for name in ("product", "bought", "seen")},
        )
        assert np.array_equal(everyone[part], with_trees(network[part], trees, alone, recipe))


@pytest.mark.parametrize("question", [FOR_YOU, DISCOVER])
def test_what_was_sampled_counts_for_what_was_not(chunks, recipe, question):
    whole = list(examples(chunks, UNTIL, replace(recipe, trees_negative_share=1.0), question))
    of_all = np.array([part.weight[~part.bought].sum() for part in whole])
    drawn = []
    for seed in range(60):
        parts = list(examples(chunks, UNTIL, replace(recipe, trees_negative_share=0.3, seed=seed), question))
        for part, full, chunk in zip(parts, whole, chunks, strict=True):
            # What was bought, before or then, always takes part.
            always = (chunk.positive | chunk.contexts.seen)[full.rows]
            assert set(full.rows[always]) <= set(part.rows) <= set(full.rows)
        drawn.append([part.weight[~part.bought].sum() for part in parts])
    error = np.std(drawn, axis=0, ddof=1) / np.sqrt(len(drawn))
    assert (np.abs(np.mean(drawn, axis=0) - of_all) < 5 * error).all()
    assert (error < 0.02 * of_all).all()  # tight enough to see a wrong weight


@pytest.mark.parametrize("question", [FOR_YOU, DISCOVER])
def test_trees_learn_from_answered_queries_which_count_by_recency_and_less_if_much_was_bought(chunks, recipe, question):
    for part, chunk in zip(examples(chunks, UNTIL, recipe, question), chunks, strict=True):
        contexts = chunk.contexts
        query = np.repeat(np.arange(len(contexts.customer)), np.diff(contexts.start))[part.rows]
        if question == DISCOVER:
            assert not contexts.seen[part.rows].any()
        assert np.array_equal(part.bought, chunk.positive[part.rows])
        recency = np.exp(-(UNTIL - chunk.at) / DAY / recipe.recency_days)
        for each in np.unique(query):
            mine = query == each
            answers = part.bought[mine].sum()
            assert answers > 0
            assert part.weight[mine][part.bought[mine]] == pytest.approx([recency / np.sqrt(answers)] * answers)


def test_of_a_larger_shop_trees_learn_from_whole_queries_in_random_number(chunks, recipe):
    every = replace(recipe, trees_negative_share=1.0)
    most = sum(len(part.rows) for part in examples(chunks, UNTIL, every, FOR_YOU))
    fewer = list(examples(chunks, UNTIL, replace(every, trees_candidates=most // 3), FOR_YOU))
    assert sum(len(part.rows) for part in fewer) == pytest.approx(most / 3, rel=0.3)
    for part, chunk in zip(fewer, chunks, strict=True):
        query = np.repeat(np.arange(len(chunk.contexts.customer)), np.diff(chunk.contexts.start))
        kept = np.unique(query[part.rows])
        assert np.array_equal(np.flatnonzero(np.isin(query, kept)), part.rows)


def test_trees_come_back_from_their_text_bit_by_bit(trees, chunks):
    again = Trees(json.loads(json.dumps(trees.texts)))
    assert again.texts == trees.texts
    assert sorted(trees.texts) == [DISCOVER, FOR_YOU]
    for question, scores in trees.scores(chunks[0].contexts).items():
        assert np.array_equal(scores, again.scores(chunks[0].contexts)[question])
        assert len(np.unique(scores)) > 20


def test_scores_are_those_that_lightgbm_computes(trees, chunks):
    lightgbm = pytest.importorskip("lightgbm")
    features = chunks[0].contexts.features[:]
    for question, scores in trees.scores(chunks[0].contexts).items():
        theirs = lightgbm.Booster(model_str=trees.texts[question]).predict(features.astype(np.float32), raw_score=True)
        assert scores == pytest.approx(theirs, abs=1e-12)


def test_trees_rank_what_is_bought_above_what_is_not(trees, chunks):
    for chunk in chunks:
        scores = trees.scores(chunk.contexts)[FOR_YOU]
        assert scores[chunk.positive].mean() > scores[~chunk.positive].mean() + 0.2


def test_the_same_seed_trains_the_same_trees_and_another_seed_others(trees, chunks, recipe):
    assert train_trees(chunks, UNTIL, recipe).texts == trees.texts
    assert train_trees(chunks, UNTIL, replace(recipe, seed=1)).texts != trees.texts


def test_a_question_without_weight_or_without_answers_has_no_trees(chunks, recipe, trees):
    alone = train_trees(chunks, UNTIL, replace(recipe, discover_trees_weight=0.0))
    assert alone.texts == {FOR_YOU: trees.texts[FOR_YOU]}
    assert train_trees(chunks, UNTIL, replace(recipe, trees_weight=0.0, discover_trees_weight=0.0)) is None
    unanswered = [replace(chunk, positive=np.zeros_like(chunk.positive)) for chunk in chunks]
    assert train_trees(unanswered, UNTIL, recipe) is None
    assert train_trees([], UNTIL, recipe) is None
    habits = [replace(chunk, positive=chunk.positive & chunk.contexts.seen) for chunk in chunks]
    assert list(train_trees(habits, UNTIL, recipe).texts) == [FOR_YOU]


def test_a_shop_too_small_for_a_leaf_keeps_the_order_of_its_network(chunks, recipe):
    trees = train_trees(chunks, UNTIL, replace(recipe, trees_min_candidates=10**6))
    contexts = chunks[0].contexts
    network = np.random.default_rng(0).normal(size=(len(contexts.product), 2)).astype(np.float32)
    both = with_trees(network, trees, contexts, recipe)
    for begin, end in zip(contexts.start[:-1], contexts.start[1:], strict=True):
        assert np.array_equal(np.argsort(both[begin:end, 0]), np.argsort(network[begin:end, 0]))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: "", "not LightGBM's, or not whole"),
        (lambda text: "tree\nversion=v4\n", "not LightGBM's, or not whole"),
        (lambda text: text[: len(text) // 3], "not LightGBM's, or not whole"),
        (lambda text: text.replace("Tree=7\n", "Tree 7\n"), "has 19 trees"),
        (lambda text: text.replace(FEATURES[0], "another"), "of other features"),
        (lambda text: text.replace("num_leaves=", "num_leaves=1", 1), "tree 0: split_feature has not"),
        (lambda text: text.replace("left_child=", "left_child=99 ", 1), "tree 0: left_child has not"),
        (lambda text: re.sub(r"left_child=\S+", "left_child=99", text, count=1), "tree 0: it names .* not there"),
        (lambda text: re.sub(r"left_child=\S+", "left_child=0", text, count=1), "tree 0: node 0 has two parents"),
        (lambda text: re.sub(r"left_child=\S+", "left_child=-1", text, count=1), "tree 0: its nodes and leaves"),
        (lambda text: re.sub(r"split_feature=\S+", "split_feature=-1", text, count=1), "tree 0: it names"),
        (lambda text: re.sub(r"leaf_value=\S+", "leaf_value=nan", text, count=1), "tree 0: a number is not finite"),
        (lambda text: re.sub(r"leaf_value=\S+", "leaf_value=much", text, count=1), "tree 0: "),
        (lambda text: re.sub(r"decision_type=\S+", "decision_type=1", text, count=1), "tree 0: .* categories"),
        (lambda text: text.replace("num_cat=0", "num_cat=1", 1), "tree 0: it has no leaf, or categories"),
        (lambda text: text.replace("is_linear=0\n", "", 1), "tree 0: 'is_linear'"),
    ],
)
def test_a_text_that_is_no_ensemble_is_refused(trees, damage, says):
    with pytest.raises(ValueError, match=says) as raised:
        Trees({FOR_YOU: damage(trees.texts[FOR_YOU])})
    assert "\n" not in str(raised.value)


def test_a_text_for_an_unknown_question_is_refused(trees):
    with pytest.raises(ValueError, match="'buy_again', which is no question"):
        Trees({"buy_again": trees.texts[FOR_YOU]})


def refuse(name):
    raise OSError("libgomp.so.1: cannot open shared object file")


@pytest.mark.parametrize("why", ["not installed", "no libgomp"])
def test_without_lightgbm_one_line_says_what_to_do(trees, chunks, recipe, monkeypatch, why):
    if why == "not installed":
        monkeypatch.setitem(sys.modules, "lightgbm", None)
    else:
        monkeypatch.setattr("ncf_pipeline.model.libraries.importlib.import_module", refuse)
    with pytest.raises(SettingsError, match=r"lightgbm .*[Ii]nstall .*NCF_TREES=false") as raised:
        train_trees(chunks, UNTIL, recipe)
    assert "\n" not in str(raised.value)
    # Trees that are there can be read all the same.
    assert Trees(trees.texts).scores(chunks[0].contexts).keys() == trees.texts.keys()
    alone = replace(recipe, trees_weight=0.0, discover_trees_weight=0.0)
    assert train_trees(chunks, UNTIL, alone) is None


PROGRAM = """
import json, os, pickle, sys
from ncf_pipeline.model.boosting import train_trees
from ncf_pipeline.model.recipe import Recipe
import torch

chunks, until, recipe = pickle.load(open(sys.argv[1], "rb"))

def of_torch():
    return float((torch.ones(600, 600) @ torch.ones(600, 600)).sum())

def threads():
    return len(os.listdir("/proc/self/task"))

import lightgbm  # which starts those of NumPy's and SciPy's matrix products

first, before = of_torch(), threads()
texts = train_trees(chunks, until, recipe).texts
assert of_torch() == first
used, more = torch.get_num_threads(), threads() - before
torch.set_num_threads(1)
assert train_trees(chunks, until, recipe).texts == texts
maps = open("/proc/self/maps").read()
of_lightgbm = [line for line in maps.splitlines() if "libgomp.so.1" in line]
print(json.dumps([used, more, len({line.split()[-1] for line in of_lightgbm}), texts]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.timeout(120)
def test_torch_and_lightgbm_share_a_process_and_its_threads(chunks, recipe, trees, tmp_path):
    import pickle

    (tmp_path / "queries").write_bytes(pickle.dumps((chunks, UNTIL, recipe)))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "queries")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    used, more, of_openmp, texts = json.loads(done.stdout)
    assert used == 2
    assert more == 0  # torch's threads serve LightGBM too
    assert of_openmp == 1
    assert texts == trees.texts  # whatever the number of threads
