"""What `make bench-quality` writes, from figures that a run could have measured."""

from dataclasses import asdict

import pytest
from quality_page import NAMES, costs_table, seconds, stacks_line, write_page

from ncf_pipeline.evaluation.baselines import BASELINES
from ncf_pipeline.evaluation.scores import CANDIDATE, NETWORK_ALONE, QUESTIONS, VERSION_0, Scores
from ncf_pipeline.model.peers import PEERS
from ncf_pipeline.model.peers.stack import BEST

RECOMMENDERS = [CANDIDATE, *BASELINES, VERSION_0, *PEERS]


def entry(recommender, question):
    ahead = None if recommender == CANDIDATE else 0.1
    known = dict.fromkeys(Scores.__dataclass_fields__, 0.25)
    known |= {"recommender": recommender, "question": question, "cohort": "everyone", "customers": 1234}
    return asdict(Scores(**known | {"ahead": ahead, "ahead_low": ahead, "ahead_high": ahead}))


@pytest.fixture
def figures():
    cuts = [
        {
            "cut": cut,
            "retrain_seconds": 61.0,
            "known_customers": 1234,
            "cpu_seconds": {name: 0.5 * place for place, name in enumerate(RECOMMENDERS)},
            "held": [],
            "scores": [entry(name, question) for name in RECOMMENDERS for question in QUESTIONS],
        }
        for cut in ("2011-05-09", "2011-06-06")
    ]
    cost = {f"{part}_{unit}": 10.0 for part in ("backtest", "refit", "customers", "products") for unit in ("seconds",)}
    cost |= {f"{part}_peak_mb": 1000 for part in ("backtest", "refit", "customers", "products")}
    cost |= {"lines": 10, "cutoff": "2011-12-10", "epochs": 2, "customers": 5, "products": 6}
    return {
        "date": "2011-12-10", "machine": "2 cores", "versions": "torch", "seconds": 120.0, "stacks": BEST, "cost": cost,
        "cuts": cuts, "ablation": [],
    }  # fmt: skip


def test_every_recommender_has_a_name():
    assert {*RECOMMENDERS, NETWORK_ALONE} <= NAMES.keys()


def test_the_page_shows_every_peer_its_scores_and_its_cost(figures, tmp_path):
    write_page(figures, tmp_path / "quality.md")
    page = (tmp_path / "quality.md").read_text()
    for name in RECOMMENDERS:
        assert page.count(f"| {NAMES[name]} |") == 5  # two questions at two cuts, and the costs
    assert (tmp_path / "quality.svg").exists()


def test_the_members_of_the_stack_are_named_once_if_both_questions_have_the_same():
    both = "EASE with a weight of 60% and UP-CF@r with 40%"
    stacks = {"for_you": ("ease", "up_cf", 0.6), "discover": ("ease", "up_cf", 0.6)}
    assert stacks_line(stacks) == both
    stacks["discover"] = ("up_cf", "ease", 0.5)
    assert (
        stacks_line(stacks)
        == f"in `for_you`, {both}, and in `discover`, UP-CF@r with a weight of 50% and EASE with 50%"
    )


def test_costs_have_a_row_for_each_recommender_and_a_column_for_each_cut(figures):
    figures["cuts"][1]["cpu_seconds"][CANDIDATE] = 321.4
    lines = costs_table(figures["cuts"]).splitlines()
    assert lines[0] == "| CPU seconds | 2011-05-09, 1,234 customers | 2011-06-06, 1,234 customers |"
    assert lines[2] == "| **this model** | 0.00 | 321 |"
    assert len(lines) == 2 + len(RECOMMENDERS)


def test_seconds_have_two_digits_or_are_whole():
    assert [seconds(value) for value in (0.234, 4.56, 123.4)] == ["0.23", "4.6", "123"]
