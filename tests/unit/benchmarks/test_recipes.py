"""`make bench-recipe`: which differences it sees, in a shop whose customers' habits change."""

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import fits
import numpy as np
import pandas as pd
import pytest
import recipes
from ablation import TIME
from fits import HORIZON, Peer, Shop, score_at
from shop_with_tastes import START, frame

from ncf_pipeline.columns import Interactions
from ncf_pipeline.evaluation.scores import QUESTIONS

SMALL = "embedding_dim=4 hidden=8,4 popular_candidates=10 taste_candidates=5 min_steps=40 epochs=2"
SMALL += " trees_weight=0 discover_trees_weight=0"  # a shop so small has too few candidates for a leaf
TIMELESS = f"{SMALL} without={','.join(TIME)}"
CUTS = [START + timedelta(days=7 * week) for week in (18, 21)]


@pytest.fixture(scope="module")
def purchases():
    """Each of 60 customers has two habits at a time, for seven weeks, and then two others."""
    random = np.random.default_rng(3)
    rows = []
    for customer in range(60):
        habits = random.permutation(60)
        for day in range(int(random.integers(10)), 180, 10):
            now = [f"P{code:02d}" for code in habits[2 * (day // 49) :][:2]]
            found = f"P{random.integers(60):02d}"
            rows += [(customer, code, f"{customer}-{day}", day) for code in sorted({*now, found})]
    return frame(rows)


@pytest.fixture
def shop(purchases):
    return Shop(purchases, CUTS[-1] + HORIZON)


def compared(shop, folder, base, new, seeds=(0,)):
    sides = {folder / "base": recipes.side_of(base), folder / "new": recipes.side_of(new)}
    recipes.fit_missing(shop, CUTS, seeds, sides)
    return recipes.compare(*(recipes.results(where, side, CUTS, seeds) for where, side in sides.items()))


def result(precision, spent=1.0):
    """A result with such a precision of each customer, and nothing else that differs."""
    columns = {
        "customer_id": list(precision),
        "precision_at_k": list(precision.values()),
        "ndcg_at_10": [0.0] * len(precision),
        "spent": [spent] * len(precision),
        "spent_at_k": [0.0] * len(precision),
    }
    return dict.fromkeys(QUESTIONS, columns)


def test_the_workbook_has_sixteen_cuts_that_end_before_the_last_look():
    times = pd.to_datetime(["2010-12-01 08:26", "2011-12-09 12:50"])
    cuts = recipes.cuts_of(pd.DataFrame({Interactions.PURCHASED_AT: times}), recipes.UNTIL)
    assert len(cuts) == 16
    assert (cuts[0], cuts[-1]) == (datetime(2011, 4, 11), datetime(2011, 7, 25))
    assert cuts[-1] + HORIZON < datetime(2011, 8, 29)


def test_no_holdout_ends_after_the_data():
    times = pd.to_datetime(["2010-12-01 08:26", "2011-05-20 17:00"])
    assert recipes.cuts_of(pd.DataFrame({Interactions.PURCHASED_AT: times}), None) == [
        datetime(2011, 4, 11),
        datetime(2011, 4, 18),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("main other", "names two revisions: main and other"),
        ("dims=64", "the recipe has no dims; it has seed, "),
        ("dropout=much", "could not convert string to float: 'much'"),
        ("peer=oracle", "there is no peer oracle; choose among item_knn"),
    ],
)
def test_a_side_that_cannot_be_read_is_an_error_of_one_line(text, error):
    with pytest.raises(ValueError, match=error):
        recipes.side_of(text).of(0)


def test_a_seed_is_the_first_of_several():
    assert [recipes.side_of("seed=3").of(seed).recipe.seed for seed in recipes.SEEDS] == [3, 4, 5]


def test_a_peer_is_trained_once_with_its_settings():
    side = recipes.side_of("peer=ease ridge=100 scale=.5")
    assert side.of(0) == Peer("ease", {"ridge": 100, "scale": 0.5})
    assert side.seeds((0, 1, 2)) == (0,)


def test_a_stack_is_given_as_members_and_a_share():
    side = recipes.side_of("peer=stack for_you=ease,up_cf,0.7").of(0)
    assert side == Peer("stack", {"for_you": ("ease", "up_cf", 0.7)})


@pytest.mark.trains
def test_members_of_stacks_are_trained_once_for_all_stacks_of_a_cut(shop, monkeypatch):
    trained = []
    for name in ("ease", "up_cf", "boosted_classifier"):
        peer = fits.ALONE[name]
        monkeypatch.setitem(
            fits.ALONE, name, lambda *given, name=name, peer=peer, **settings: trained.append(name) or peer(*given)
        )
    whole = "for_you=ease,up_cf,{} discover=up_cf,ease,0.7"
    alone, other = (recipes.side_of(f"peer=stack {whole.format(share)}").of(0) for share in ("1.0", "0.6"))
    lists = [shop.lists(CUTS[0], side) for side in (alone, other)]
    assert sorted(trained) == ["ease", "up_cf"]
    for_you = [made[made["list_name"] == "for_you"].set_index("key")["stock_codes"] for made in lists]
    assert not for_you[0].equals(for_you[1])
    ease = shop.lists(CUTS[0], Peer("ease"))
    expected = ease[ease["list_name"] == "for_you"].set_index("key")["stock_codes"]
    assert dict(for_you[0].items()) == dict(expected.items())


def test_the_difference_is_the_mean_over_cuts_of_the_mean_over_customers_and_seeds():
    base = [[result({"a": 0.2, "b": 0.4})], [result({"a": 0.6})]]
    new = [[result({"a": 0.4, "b": 0.4}), result({"a": 0.4, "b": 0.6})], [result({"a": 0.6})] * 2]
    line = recipes.compare(base, new)[0]
    assert (line.base, line.new) == (pytest.approx((0.3 + 0.6) / 2), pytest.approx((0.45 + 0.6) / 2))
    assert line.difference.mean == pytest.approx(0.075)
    assert (line.cuts_up, line.cuts) == (1, 2)


def test_revenue_is_a_share_of_what_all_customers_spent():
    cut = result({"a": 0.0, "b": 0.0})
    for columns in cut.values():
        columns.update(spent=[90.0, 10.0], spent_at_k=[9.0, 6.0])
    revenue = [line.new for line in recipes.compare([[cut]], [[cut]]) if line.measure == "revenue@5"]
    assert revenue == [pytest.approx(0.15)] * 2


def test_customers_who_come_at_many_cuts_are_not_counted_as_so_many_customers():
    random = np.random.default_rng(0)
    base = result({f"{who:03d}": 0.2 for who in range(200)})
    new = result({f"{who:03d}": 0.2 + gain for who, gain in enumerate(random.normal(0, 0.2, 200))})
    once, often = (recipes.compare([[base]] * cuts, [[new]] * cuts)[0].difference for cuts in (1, 16))
    assert (often.low, often.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_seeds_that_differ_widen_the_interval():
    same = [[result(dict.fromkeys("abcdef", 0.3))] * 3] * 4
    apart = [[result(dict.fromkeys("abcdef", value)) for value in (0.2, 0.3, 0.4)]] * 4
    none, some = (recipes.compare(side, side)[0].difference for side in (same, apart))
    assert (none.mean, none.low, none.high) == pytest.approx((0, 0, 0))
    assert some.mean == 0
    assert some.low < -0.01
    assert some.high > 0.01


@pytest.mark.trains
def test_a_recipe_is_no_better_than_itself_and_one_without_time_is_seen_to_be_worse(shop, tmp_path):
    for line in compared(shop, tmp_path / "same", SMALL, SMALL):
        assert line.difference.mean == 0
        assert line.difference.low <= 0 <= line.difference.high
        assert line.cuts_up == 0
    for_you = compared(shop, tmp_path / "broken", SMALL, TIMELESS)[0]
    assert (for_you.question, for_you.measure) == ("for_you", "P@5")
    assert for_you.difference.high < 0
    assert recipes.verdict(for_you.difference) == "worse"


@pytest.mark.trains
def test_a_comparison_that_was_killed_ends_with_the_same_table(purchases, tmp_path, monkeypatch):
    whole = compared(Shop(purchases, CUTS[-1] + HORIZON), tmp_path / "whole", SMALL, f"{SMALL} seed=5")
    fits = []

    def killed_in_the_third(*arguments):
        fits.append(arguments[1])
        if len(fits) == 3:
            raise KeyboardInterrupt
        return score_at(*arguments)

    monkeypatch.setattr(recipes, "score_at", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        compared(Shop(purchases, CUTS[-1] + HORIZON), tmp_path / "killed", SMALL, f"{SMALL} seed=5")
    assert compared(Shop(purchases, CUTS[-1] + HORIZON), tmp_path / "killed", SMALL, f"{SMALL} seed=5") == whole
    assert len(fits) == 5  # two, the one that was killed, and two


@pytest.mark.trains
def test_every_customer_counts_who_was_known_and_bought_something(shop, purchases):
    cut = CUTS[0]
    scores = score_at(shop, cut, recipes.side_of(SMALL).of(0))
    at, who = purchases[Interactions.PURCHASED_AT], purchases[Interactions.CUSTOMER_ID]
    bought = set(who[(at >= cut) & (at < cut + HORIZON)]) & set(who[at < cut])
    assert set(scores["for_you"].index) == bought


@pytest.mark.trains
def test_a_later_cut_changes_nothing_at_an_earlier_one(shop, purchases):
    """Queries are made once for all cuts, from events up to the last holdout's end."""
    later = CUTS[0] + HORIZON
    planted = frame([(customer, "PLANTED", f"new-{customer}", later) for customer in range(60)])
    other = Shop(pd.concat([purchases, planted], ignore_index=True), CUTS[-1] + HORIZON)
    side = recipes.side_of("peer=ease").of(0)
    for one, another in ((shop, other), (other, shop)):
        pd.testing.assert_frame_equal(
            score_at(one, CUTS[0], side)["for_you"], score_at(another, CUTS[0], side)["for_you"]
        )
    recipe = recipes.side_of(SMALL).of(0).recipe
    at = int(np.datetime64(CUTS[0], "us").astype(np.int64))
    for mine, theirs in zip(shop.queries(at, 28, recipe), other.queries(at, 28, recipe), strict=True):
        np.testing.assert_array_equal(mine.contexts.features, theirs.contexts.features)
        np.testing.assert_array_equal(mine.positive, theirs.positive)


@pytest.mark.trains
def test_the_command_compares_a_side_with_itself(purchases, tmp_path, capsys, monkeypatch):
    data = tmp_path / "shop"
    data.mkdir()
    monkeypatch.setattr(recipes, "ingested", lambda source: purchases)
    arguments = ["--data", str(data), "--until", str(CUTS[0] + timedelta(days=1)), "--work", str(tmp_path / "work")]
    arguments += ["--seeds", "0", "--processes", "1", "--base", SMALL, "--new", f"  {SMALL} "]
    recipes.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert "1 cuts from 2021-05-10 to 2021-05-10" in lines[0]
    assert len([line for line in lines if "+0.0000 [+0.0000, +0.0000] | 0 of 1 | no difference seen" in line]) == 6
    with pytest.raises(SystemExit, match="git knows no revision nowhere"):
        recipes.main([*arguments, "--new", "nowhere"])


def test_a_revision_is_unpacked_once_and_an_older_one_is_refused(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    git = ["git", "-C", str(tree), "-c", "user.name=A", "-c", "user.email=a@example.com"]
    (tree / "ncf_pipeline").mkdir(parents=True)
    (tree / "benchmarks").mkdir()
    (tree / "ncf_pipeline/a.py").write_text("A = 1\n")
    (tree / "benchmarks/other.py").write_text("")
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
    for name in ("old", "new"):
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "--no-verify", "-m", name], check=True)
        subprocess.run([*git, "tag", name], check=True)
        (tree / "benchmarks/fits.py").write_text("")
    monkeypatch.setattr(recipes, "TREE", tree)
    with pytest.raises(ValueError, match=r"old has no benchmarks/fits.py"):
        recipes.tree_of(tmp_path / "work", "old")
    unpacked = recipes.tree_of(tmp_path / "work", "new")
    assert (unpacked / "ncf_pipeline/a.py").read_text() == "A = 1\n"
    assert recipes.tree_of(tmp_path / "work", "new") == unpacked
    assert recipes.tree_of(tmp_path / "work", None) == tree


def test_results_belong_to_the_source_of_the_model_not_to_its_comments(tmp_path):
    for name, text in (("one", "A = 1\n"), ("same", "# why\nA = 1\n"), ("other", "A = 2\n")):
        (tmp_path / name / "ncf_pipeline/model").mkdir(parents=True)
        (tmp_path / name / "ncf_pipeline/model/recipe.py").write_text(text)
    one, same, other = (
        recipes.folder_of(Path("work"), "shop", tmp_path / name, recipes.side_of("main dim=2 a=1"))
        for name in ("one", "same", "other")
    )
    assert one == same != other
    assert one.name.endswith(" a=1 dim=2")


def test_a_result_is_whole_or_not_there(tmp_path):
    recipes.write(tmp_path / "folder/result.json", {"for_you": {"customer_id": ["a"]}})
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "folder/result.json").read_text())["for_you"]["customer_id"] == ["a"]


def test_what_changes_only_the_order_of_lists_is_trained_once_and_seen(purchases, tmp_path, monkeypatch):
    """Every product costs the same, and then those with an even number cost a hundred times as much."""
    trained = []
    monkeypatch.setattr(fits, "train", lambda *given, train=fits.train: trained.append(given[2]) or train(*given))
    texts = ("", " value=1", " family=1")
    sides = {tmp_path / f"side{text}": recipes.side_of(SMALL + text) for text in texts}

    def results(costs):
        # Products of one number are variants of each other: 0A to 0E, 1A to 1E, ...
        codes = purchases[Interactions.STOCK_CODE].str[1:].astype(int)
        variants = [f"{code // 5}{'ABCDE'[code % 5]}" for code in codes]
        priced = {Interactions.STOCK_CODE: variants, Interactions.UNIT_PRICE: costs(codes)}
        shop = Shop(purchases.assign(**priced), CUTS[-1] + HORIZON)
        for folder in sides:
            recipes.path_of(folder, CUTS[0], 0).unlink(missing_ok=True)
        recipes.fit_missing(shop, CUTS[:1], (0,), sides)
        return [recipes.results(folder, side, CUTS[:1], (0,)) for folder, side in sides.items()]

    same, by_value, varied = results(lambda codes: 1.5 + 0.0 * codes)
    assert len(trained) == 1
    assert by_value == same
    assert varied != same
    same, by_value, _ = results(lambda codes: np.where(codes % 2 == 0, 100.0, 1.0))
    assert by_value != same
