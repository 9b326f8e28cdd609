from dataclasses import replace
from math import inf, nan

import pytest

from ncf_pipeline.evaluation.gate import TrainingFacts, decide, objections_to_refit, objections_to_training
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.decision import thresholds

THRESHOLDS = thresholds(Settings())
WELL_TRAINED = TrainingFacts(
    losses=(16.0, 15.1),
    out_of_time=False,
    finite_weights=True,
    lines=10_000,
    lines_there=10_000,
    incumbent_lines=10_500,
    customers_in_place=True,
    products_in_place=True,
    queries=400,
    customers_worth=12.0,
    products_worth=40.0,
)


def scores(recommender, precision, *, ahead=None, question="for_you", cohort="everyone", doubt=0.01, **other):
    """Scores over 500 customers; the candidate leads by `ahead`, plus or minus `doubt`."""
    return replace(
        Scores(
            recommender=recommender,
            question=question,
            cohort=cohort,
            k=5,
            customers=500,
            precision_at_k=precision,
            precision_low=precision - 0.02,
            precision_high=precision + 0.02,
            ahead=ahead,
            ahead_low=None if ahead is None else ahead - doubt,
            ahead_high=None if ahead is None else ahead + doubt,
            recall_at_k=0.1,
            ndcg_at_10=0.1,
            catalog_coverage=0.3,
            full_lists=1.0,
            overlap=0.05,
        ),
        **other,
    )


CANDIDATE = scores("candidate", 0.30)
BASELINES = [
    scores("best_sellers", 0.10, ahead=0.20),
    scores("recent_best_sellers", 0.14, ahead=0.16),
    scores("personal_frequency", 0.27, ahead=0.03),
]
DISCOVER = [
    scores("candidate", 0.13, question="discover"),
    scores("best_sellers", 0.05, ahead=0.08, question="discover"),
    scores("recent_best_sellers", 0.07, ahead=0.06, question="discover"),
]
GOOD = [CANDIDATE, *BASELINES, *DISCOVER]
MAY_BE_WORSE = "may be more than 0.02 worse than the incumbent"


def decision(*given, training=WELL_TRAINED, **changed):
    return decide([*given], training, replace(THRESHOLDS, **changed))


def test_a_candidate_that_clearly_beats_every_baseline_may_serve_and_says_why():
    decided = decision(*GOOD)
    assert decided.promote
    assert decided.reasons[0] == ("for_you: Precision@5 0.3000 beats best sellers (0.1000), +0.2000 [+0.1900, +0.2100]")
    assert any("no incumbent" in reason for reason in decided.reasons)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([CANDIDATE, *BASELINES[:2], scores("personal_frequency", 0.30, ahead=0.0)], "not clearly beat personal"),
        (
            [CANDIDATE, *BASELINES[:2], scores("personal_frequency", 0.29, ahead=0.01)],
            "not clearly beat personal",
        ),  # low end 0
        ([CANDIDATE, scores("best_sellers", 0.3, ahead=nan), *BASELINES[1:]], "not clearly beat best sellers"),
        ([replace(CANDIDATE, precision_at_k=nan), *BASELINES], "precision_at_k of for_you is nan: not a finite number"),
        ([replace(CANDIDATE, ndcg_at_10=inf), *BASELINES], "ndcg_at_10 of for_you is inf"),
        ([CANDIDATE, *BASELINES, scores("incumbent", 0.312, ahead=-0.012)], MAY_BE_WORSE),
        ([CANDIDATE, *BASELINES, scores("incumbent", 0.3, ahead=nan)], MAY_BE_WORSE),
        ([replace(CANDIDATE, catalog_coverage=0.05), *BASELINES], "only 5.0% of the catalogue"),
        ([replace(CANDIDATE, full_lists=0.9), *BASELINES], "only 90.0% of known customers"),
        ([replace(CANDIDATE, overlap=0.51), *BASELINES], "lists share 51.0%"),
        ([CANDIDATE, *BASELINES[:2]], "personal frequency were not evaluated"),
        ([replace(CANDIDATE, customers=49), *BASELINES], "only 49 customers in the holdout"),
        ([replace(CANDIDATE, customers=0), *BASELINES], "no customer bought anything"),
        (BASELINES, "the candidate was not evaluated on for_you"),
    ],
)
def test_the_gate_holds_and_says_why(given, reason):
    decided = decision(*given, *DISCOVER)
    assert not decided.promote
    assert any(reason in objection for objection in decided.reasons), decided.reasons


def test_discover_is_held_to_the_same_rules():
    worse = [DISCOVER[0], DISCOVER[1], replace(DISCOVER[2], ahead=-0.01, ahead_low=-0.02, ahead_high=0.0)]
    decided = decision(CANDIDATE, *BASELINES, *worse)
    assert decided.reasons == (
        "discover: Precision@5 0.1300 does not clearly beat recent best sellers (0.0700), -0.0100 [-0.0200, +0.0000]",
    )


def test_an_incumbent_that_is_better_by_less_than_the_tolerance_does_not_hold_the_candidate():
    assert decision(*GOOD, scores("incumbent", 0.305, ahead=-0.005)).promote
    # The same difference with a wider interval: shoppers, not the candidate, have the benefit of the doubt.
    assert not decision(*GOOD, scores("incumbent", 0.305, ahead=-0.005, doubt=0.02)).promote


def test_a_cohort_that_loses_holds_the_candidate_unless_it_may_be_chance():
    loses = scores("incumbent", 0.4, ahead=-0.05, cohort="1 invoice")
    assert not decision(*GOOD, loses).promote
    assert decision(*GOOD, replace(loses, ahead_high=0.001)).promote
    assert decision(*GOOD, replace(loses, customers=20)).promote
    assert decision(*GOOD, loses, cohort_tolerance=0.06).promote


def test_with_too_few_customers_the_setting_decides_between_holding_and_the_means():
    few = [replace(score, customers=30) for score in GOOD]
    few[3] = replace(few[3], ahead=0.01, ahead_low=-0.03, ahead_high=0.05)
    assert not decision(*few).promote
    going = decision(*few, when_too_few="go")
    assert going.promote
    assert "the means decide" in going.reasons[0]
    few[3] = replace(few[3], ahead=-0.01)
    assert not decision(*few, when_too_few="go").promote


def test_every_objection_is_listed_not_only_the_first():
    bad = replace(CANDIDATE, catalog_coverage=0.01, overlap=0.9)
    decided = decision(bad, *BASELINES, *DISCOVER, scores("incumbent", 0.4, ahead=-0.1))
    assert len(decided.reasons) == 3


def test_a_shop_where_nobody_bought_anything_new_is_not_held_for_it():
    nobody = scores("candidate", nan, question="discover", customers=0)
    assert decision(CANDIDATE, *BASELINES, nobody).promote


def test_one_list_for_everyone_never_gets_past_the_gate():
    """The notebook that this project replaces: the same 5 of 3,700 products for everybody, Precision@5 0.0040."""
    degenerate = replace(CANDIDATE, precision_at_k=0.0040, catalog_coverage=5 / 3700, overlap=1.0)
    behind = [replace(score, ahead=-0.1, ahead_low=-0.11, ahead_high=-0.09) for score in BASELINES]
    decided = decision(degenerate, *behind, *DISCOVER)
    assert not decided.promote
    assert any("does not clearly beat best sellers" in reason for reason in decided.reasons)
    assert any("one list for everyone" in reason for reason in decided.reasons)
    # The same if its five products happen to sell well.
    lucky = replace(CANDIDATE, catalog_coverage=5 / 3700, overlap=1.0)
    assert not decision(lucky, *BASELINES, *DISCOVER).promote


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"losses": (16.0, nan)}, "training loss that is NaN, infinite or missing: [16.0, nan]"),
        ({"losses": ()}, "training loss that is NaN, infinite or missing: []"),
        ({"finite_weights": False}, "weights that are not finite"),
        ({"out_of_time": True}, "not trained to the end"),
        ({"lines": 1_000}, "learned from 1,000 of the 10,000 lines that the snapshot holds"),
        ({"lines": None}, "learned from 0 of the 10,000 lines"),
        ({"lines": 1_000, "lines_there": 1_000}, "the incumbent from 10,500; at least 90% of that is required"),
        ({"customers_in_place": False}, "has its customers in another order than it was trained with"),
        ({"products_in_place": False}, "has its products in another order"),
        ({"products_worth": -1.0}, "ranks its products hardly better than with shuffled ids"),
        ({"customers_worth": nan}, "numbers that are not finite"),
        ({"products_worth": inf, "queries": 3}, "numbers that are not finite"),
    ],
)
def test_good_lists_do_not_hide_that_training_went_wrong(facts, reason):
    trained = replace(WELL_TRAINED, **facts)
    decided = decision(*GOOD, training=trained)
    assert not decided.promote
    assert any(reason in objection for objection in decided.reasons), decided.reasons
    # The refit, which serves, must pass the same rules.
    assert any(reason in each for each in objections_to_training(trained, THRESHOLDS, whose="the refit"))


def test_a_first_model_and_a_shop_too_small_to_measure_ids_are_not_held_for_it():
    assert decision(*GOOD, training=replace(WELL_TRAINED, incumbent_lines=None)).promote
    assert decision(*GOOD, training=replace(WELL_TRAINED, queries=49, products_worth=0.3)).promote


@pytest.mark.parametrize(("shared", "objects"), [(0.83, False), (0.7, False), (0.69, True), (0.0, True), (nan, True)])
def test_a_refit_that_shares_little_with_what_was_evaluated_is_objected_to(shared, objects):
    assert bool(objections_to_refit(shared, THRESHOLDS)) is objects
