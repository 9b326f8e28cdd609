from dataclasses import replace
from math import inf, nan

import pytest

from ncf_pipeline.evaluation import Scores
from ncf_pipeline.gate import Thresholds, decide

THRESHOLDS = Thresholds(incumbent_tolerance=0.005, min_catalog_coverage=0.05)


def scores(recommender, precision, question="for_you", coverage=0.3, **other):
    return replace(Scores(recommender, question, 5, 100, precision, 0.1, 0.1, coverage), **other)


CANDIDATE = scores("candidate", 0.30)
DISCOVER = scores("candidate", 0.10, question="discover")
BASELINES = [scores("best_sellers", 0.10), scores("recent_best_sellers", 0.14), scores("personal_frequency", 0.33)]


def decision(*given):
    return decide([*given], THRESHOLDS)


def test_a_candidate_that_beats_both_best_sellers_may_serve_and_says_why():
    decided = decision(CANDIDATE, DISCOVER, *BASELINES)
    assert decided.promote
    assert decided.reasons[0] == "Precision@5 0.3000 beats best sellers (0.1000)"
    assert "no incumbent" in decided.reasons[2]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([scores("candidate", 0.14), *BASELINES], "does not beat recent best sellers"),  # a tie is no win
        ([scores("candidate", 0.05), *BASELINES], "does not beat best sellers"),
        ([scores("candidate", nan), *BASELINES], "precision_at_k of for_you is nan"),
        ([scores("candidate", inf), *BASELINES], "precision_at_k of for_you is inf"),
        ([CANDIDATE, scores("candidate", nan, question="discover"), *BASELINES], "precision_at_k of discover is nan"),
        ([CANDIDATE, *BASELINES, scores("incumbent", 0.3051)], "below the incumbent's 0.3051 by more than 0.005"),
        ([CANDIDATE, *BASELINES, scores("incumbent", nan)], "below the incumbent's nan"),
        ([scores("candidate", 0.3, coverage=0.05), *BASELINES], "only 5.0% of the catalogue"),
        ([scores("candidate", 0.3, coverage=0.0013), *BASELINES], "only 0.1% of the catalogue"),
        ([CANDIDATE, BASELINES[0]], "recent best sellers were not evaluated"),
        ([scores("candidate", nan, customers=0), *BASELINES], "no customer bought anything"),
        (BASELINES, "the candidate was not evaluated"),
        ([], "the candidate was not evaluated"),
    ],
)
def test_the_gate_holds_and_says_why(given, reason):
    decided = decision(*given)
    assert not decided.promote
    assert any(reason in objection for objection in decided.reasons), decided.reasons


def test_within_the_tolerance_of_the_incumbent_is_good_enough():
    assert decision(CANDIDATE, *BASELINES, scores("incumbent", 0.305)).promote


def test_every_objection_is_listed_not_only_the_first():
    decided = decision(scores("candidate", 0.05, coverage=0.01), *BASELINES, scores("incumbent", 0.3))
    assert len(decided.reasons) == 4


def test_a_shop_where_nobody_bought_anything_new_is_not_held_for_it():
    nobody = scores("candidate", nan, question="discover", customers=0)
    assert decision(CANDIDATE, nobody, *BASELINES).promote


def test_one_list_for_everyone_never_gets_past_the_gate():
    """The notebook that this began from: five products of 3,700 for everybody, Precision@5 0.0040."""
    degenerate = scores("candidate", 0.0040, coverage=5 / 3700)
    decided = decision(degenerate, *BASELINES)
    assert not decided.promote
    assert any("does not beat" in reason for reason in decided.reasons)
    assert any("of the catalogue" in reason for reason in decided.reasons)
    # Nor if its five products happened to sell well.
    assert not decision(scores("candidate", 0.5, coverage=5 / 3700), *BASELINES).promote
