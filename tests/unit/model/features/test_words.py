import os
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from shop_with_tastes import START, frame

from ncf_pipeline.model.descriptions import words_of
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.features.taste import Taste
from ncf_pipeline.model.features.words import alike, word_table
from ncf_pipeline.model.recipe import Recipe


def state_of(rows, day=50, recipe=None):
    """Rows (customer, code, day, description)."""
    lines = frame([(customer, code, str(day), day) for customer, code, day, _ in rows])
    events = encode(lines.assign(description=[text for *_, text in rows]), START + timedelta(days=100))
    return ShopState(events, microseconds(START + timedelta(days=day)), recipe or Recipe())


def test_words_ignore_case_and_stock_codes_have_a_family():
    assert words_of("Red RETROSPOT cup, 2 of a SET", "85123A") == {"red", "retrospot", "cup", "of", "set", "#85123"}
    assert words_of("Grün Tasse", "22423") == {"grün", "tasse", "#22423"}
    assert words_of("?", "POST") == {"#POST"}


def test_rare_words_weigh_more_and_words_of_one_product_nothing():
    state = state_of(
        [
            (1, "10A", 0, "red cup"),
            (1, "20", 0, "red bag"),
            (1, "30", 0, "green cup"),
            (1, "40", 0, "red unheard"),
            (1, "50", 0, None),
        ]
    )
    table = word_table(state).toarray()
    # Four products have a description: "red" is in three of them, "cup" in two, "bag" and others in one.
    red, cup = np.log(5 / 4), np.log(5 / 3)
    cosine = table @ table.T
    assert cosine[0, 1] == pytest.approx(red / np.hypot(red, cup), rel=1e-5)
    assert cosine[0, 2] == pytest.approx(cup / np.hypot(red, cup), rel=1e-5)
    assert cosine[1, 3] == pytest.approx(1.0)
    assert cosine[1, 2] == 0
    assert not table[4].any()
    assert np.diag(cosine)[:4] == pytest.approx(np.ones(4))


def test_a_word_of_very_many_products_weighs_nothing(monkeypatch):
    rows = [(1, "1", 0, "red cup"), (1, "2", 0, "red bag"), (1, "3", 0, "red cup"), (1, "4", 0, "moon")]
    assert (word_table(state_of(rows)).toarray()[[0]] @ word_table(state_of(rows)).toarray()[1]).item() > 0
    monkeypatch.setattr("ncf_pipeline.model.features.words.MAX_PRODUCTS", 2)
    table = word_table(state_of(rows)).toarray()
    assert table[0] @ table[1] == 0
    assert table[0] @ table[2] == pytest.approx(1.0)


def test_products_of_one_family_are_similar_without_a_common_word():
    state = state_of([(1, "85123A", 0, "heart"), (1, "85123B", 0, "star"), (1, "7", 0, "moon")])
    table = alike(word_table(state), 5).toarray()
    assert table.tolist() == pytest.approx(np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]]))


def test_the_most_similar_are_kept():
    rows = [
        (1, str(code), 0, f"red {'cup' if code % 2 else 'bag'} {'big' if code % 3 else 'small'}") for code in range(20)
    ]
    table = word_table(state_of(rows))
    kept = alike(table, 4)
    assert np.diff(kept.indptr).max() == 4
    every = (table @ table.T).toarray()
    np.fill_diagonal(every, 0)
    for product in range(20):
        assert np.sort(kept[[product]].data)[::-1] == pytest.approx(np.sort(every[product])[::-1][:4])


def test_a_description_counts_from_its_first_sale_on():
    rows = [(1, "1", 0, "red cup"), (1, "2", 10, "blue bag"), (1, "1", 60, "blue bag"), (2, "3", 0, "red hat")]
    table = word_table(state_of(rows, day=50)).toarray()
    assert (table @ table.T)[0, 1] == 0
    later = word_table(state_of(rows, day=70)).toarray()
    assert (later @ later.T)[0, 1] > 0.5


def test_a_product_similar_to_a_bought_one_scores_above_others():
    rows = [(1, "1", 0, "red cup"), (2, "2", 0, "blue cup"), (2, "3", 0, "steel nail"), (3, "4", 0, "steel saw")]
    state = state_of([*rows, (3, "5", 0, "red saw")])
    candidates = Taste(state).candidates(np.array([0]))
    assert candidates.product.tolist() == [0, 1, 2, 3, 4]
    scores = dict(candidates.columns())
    # Words of two products all have the same weight, and words of one have none: "blue cup" counts as "cup".
    assert scores["words"][1] == pytest.approx(np.log1p(10 * 0.5**0.5))
    assert scores["words"][4] == pytest.approx(np.log1p(10 * 0.5))
    assert scores["words"][[0, 2, 3]].tolist() == [0, 0, 0]


PROGRAM = """
import hashlib, sys
import pandas as pd
from ncf_pipeline.model.features.events import encode
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.features.words import alike, word_table
events = encode(pd.read_parquet(sys.argv[1]), pd.Timestamp(sys.argv[2]).to_pydatetime())
table = alike(word_table(ShopState(events, int(sys.argv[3]), Recipe())), 5)
print(hashlib.sha256(table.indptr.tobytes() + table.indices.tobytes() + table.data.tobytes()).hexdigest())
"""


def test_another_process_computes_the_same_bits(tmp_path):
    random = np.random.default_rng(0)
    words = [f"w{'abcdefghij'[number // 10]}{'abcdefghij'[number % 10]}" for number in range(60)]
    lines = frame([(1, f"P{number:03d}", f"{number}", 0) for number in range(100)])
    lines = lines.assign(description=[" ".join(random.choice(words, 6, replace=False)) for _ in range(100)])
    lines.to_parquet(tmp_path / "lines.parquet")
    day = START + timedelta(days=50)
    hashes = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / "lines.parquet", day.isoformat(), str(microseconds(day))],
            env=os.environ | {"PYTHONHASHSEED": seed},  # random by default
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1
