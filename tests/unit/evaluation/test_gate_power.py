"""How often the gate lets simulated candidates through: its operating characteristic, for shops of several sizes."""

from dataclasses import replace

import numpy as np
import pytest

from ncf_pipeline.evaluation.comparison import compare, smallest_held_loss
from ncf_pipeline.evaluation.gate import decide
from ncf_pipeline.evaluation.power import power_of
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.evaluation.simulation import LOW, REAL, WELL_TRAINED, evaluations
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.decision import thresholds

THRESHOLDS = thresholds(Settings())
REPEATS = 150


def passing(customers, precision=REAL, *, worse=0.0, agreement=0.8, only=None, repeats=REPEATS, **changed):
    """Share of simulated candidates that pass, worse in all questions or `only` in one."""
    by_question = dict.fromkeys(precision if only is None else [only], worse)
    simulated = evaluations(customers, precision, worse=by_question, agreement=agreement, repeats=repeats)
    limits = replace(THRESHOLDS, **changed)
    return float(np.mean([decide(scores, WELL_TRAINED, limits).promote for scores in simulated]))


@pytest.mark.parametrize("agreement", [0.8, 0.6])
@pytest.mark.parametrize("customers", [60, 100, 400, 1547])
def test_from_60_customers_on_an_equal_candidate_passes_and_one_that_is_a_fifth_worse_does_not(customers, agreement):
    assert passing(customers, agreement=agreement) >= 0.8
    assert passing(customers, worse=0.2, agreement=agreement) <= 0.1


def test_with_many_customers_a_tenth_worse_in_one_list_is_held_and_with_more_a_twentieth_too():
    assert passing(1547, worse=0.10, only="discover") <= 0.02
    assert passing(10_000, worse=0.10, only="discover", repeats=60) == 0.0
    assert passing(10_000, worse=0.05, only="discover", repeats=60) <= 0.1
    assert passing(10_000, repeats=60) >= 0.9


@pytest.mark.parametrize(("customers", "worse"), [(1547, 0.2), (5000, 0.3)])
def test_a_shop_whose_customers_hit_little_is_not_an_exception(customers, worse):
    assert passing(customers, LOW, worse=worse, agreement=0.6, repeats=60) <= 0.05
    assert passing(customers, LOW, agreement=0.6, repeats=60) >= 0.8


def test_a_better_candidate_passes_nearly_always():
    assert passing(100, worse=-0.1) >= 0.95


def test_where_the_data_cannot_tell_holding_protects_shoppers_and_going_lets_the_shop_move_on():
    low = {"customers": 60, "precision": LOW, "agreement": 0.6}
    assert passing(**low, when_too_few="go") >= 0.8
    assert passing(**low, worse=0.2, when_too_few="hold") <= 0.1
    simulated = evaluations(60, LOW, worse={}, agreement=0.6, repeats=20)
    said = [reason for scores in simulated for reason in decide(scores, WELL_TRAINED, THRESHOLDS).reasons]
    assert any("with 60 customers, a list that is 20% worse than the incumbent cannot be told" in line for line in said)


def test_the_command_s_simulation_agrees_with_customers_drawn_one_by_one():
    (shop,) = evaluations(400, REAL, worse={}, agreement=0.6, repeats=1)
    found = {row.change: row for row in power_of(shop, THRESHOLDS, repeats=REPEATS).passing}
    for change in (0.0, -0.05, -0.10):
        assert found[change].both == pytest.approx(passing(400, worse=-change, agreement=0.6), abs=0.15)
    assert found[0.05].both >= found[0.0].both >= found[-0.05].both >= found[-0.10].both >= found[-0.20].both
    assert found[-0.10].alone["discover"] > found[-0.10].both
    assert found[0.0].alone == dict.fromkeys(REAL, found[0.0].both)


def test_what_the_data_cannot_tell_is_one_line_with_what_the_setting_does():
    (small,) = evaluations(60, LOW, worse={}, agreement=0.6, repeats=1)
    for setting, then in (("go", "That alone holds no candidate"), ("hold", "Candidates are held unless")):
        found = power_of(small, replace(THRESHOLDS, when_too_few=setting), repeats=2).questions
        assert all(each.cannot_tell and then in each.cannot_tell for each in found)
    (large,) = evaluations(1547, REAL, worse={}, agreement=0.8, repeats=1)
    found = power_of(large, THRESHOLDS, repeats=2).questions
    assert [each.cannot_tell for each in found] == [None, None]
    assert all(0.03 < each.smallest_held_loss < 0.1 for each in found)


def test_without_an_incumbent_the_next_decision_is_simulated_against_the_candidate():
    (shop,) = evaluations(400, REAL, worse={}, agreement=0.6, repeats=1)
    first = [score for score in shop if score.recommender != "incumbent"]
    found = power_of(first, THRESHOLDS, repeats=50)
    assert found.compared_with in ("best_sellers", "recent_best_sellers", "personal_frequency")
    equal, far_worse = found.passing[1], found.passing[-1]
    assert equal.both > 0.8
    assert far_worse.both < 0.3


def test_the_candidate_s_own_network_is_nothing_that_could_serve_instead():
    (shop,) = evaluations(400, REAL, worse={}, agreement=0.8, repeats=1)
    first = [score for score in shop if score.recommender != "incumbent"]
    of_network = [
        replace(score, recommender="network_alone", ahead=0.001, ahead_low=0.0, ahead_high=0.002)
        for score in first
        if score.recommender == "candidate"
    ]
    assert power_of([*first, *of_network], THRESHOLDS, repeats=5) == power_of(first, THRESHOLDS, repeats=5)
    alone, beside = (decide(rows, WELL_TRAINED, THRESHOLDS) for rows in (first, [*first, *of_network]))
    assert (alone.promote, alone.reasons) == (beside.promote, beside.reasons)


def test_an_evaluation_without_a_comparison_cannot_be_simulated():
    (shop,) = evaluations(60, REAL, worse={}, agreement=0.6, repeats=1)
    with pytest.raises(ValueError, match="nothing was compared"):
        power_of([score for score in shop if score.recommender == "candidate"], THRESHOLDS)


def test_the_smallest_loss_that_is_held_is_held_nine_times_in_ten():
    (shop,) = evaluations(1547, REAL, worse={}, agreement=0.6, repeats=1)
    row = next(each for each in shop if (each.recommender, each.question) == ("incumbent", "discover"))
    loss = smallest_held_loss(compare(row, floor=THRESHOLDS.small_loss, max_loss=THRESHOLDS.max_loss))
    assert passing(1547, worse=loss, only="discover", agreement=0.6, repeats=300) == pytest.approx(0.1, abs=0.05)


# A slow slide. Each version's quality is known; what a holdout shows of it is that and chance.
WEEKS, SHOPS = 12, 30
MODEST = {"for_you": 0.10, "discover": 0.05}
BASELINES = ("best_sellers", "recent_best_sellers", "personal_frequency")


def held_weeks(customers, precision=REAL, *, loss, spread=0.01, best_recent=True, seed=0):
    """Weekly retrains in many shops. Each candidate is worse by `loss` than the incumbent.

    Returns:
        Share of the candidates that were held, and the mean quality that served at the end, relative to the first.
    """
    random = np.random.default_rng(seed)
    held, ends = 0, []
    for _ in range(SHOPS):
        served = [1.0]
        for _ in range(WEEKS):
            quality = served[-1] * (1 - loss) * (1 + spread * random.standard_normal())
            rows = []
            for question, hits in precision.items():
                # Of the lead over a list of which two places differ, in a shop of customers as in `evaluations`.
                error = np.sqrt(8 / 3 * hits * (1 - hits) / customers) / 5
                luck = random.standard_normal(len(served[-8:]) + 1) * error / np.sqrt(2)
                *earlier, ours = hits * np.array([*served[-8:], quality]) + luck
                best = max(earlier)
                rows += [
                    row(question, "candidate", ours, customers),
                    row(question, "incumbent", earlier[-1], customers, ours, error),
                ]
                rows += [row(question, name, 0.01 * hits, customers, ours, error) for name in BASELINES]
                if best_recent and best > earlier[-1]:
                    rows += [row(question, "best_recent", best, customers, ours, error)]
            if decide(rows, WELL_TRAINED, THRESHOLDS).promote:
                served.append(quality)
            else:
                held += 1
        ends.append(served[-1])
    return held / (SHOPS * WEEKS), float(np.mean(ends))


def row(question, recommender, precision, customers, ours=None, error=0.0):
    lead = None if ours is None else ours - precision
    return Scores(
        recommender=recommender,
        question=question,
        cohort="everyone",
        k=5,
        customers=customers,
        precision_at_k=precision,
        precision_low=precision,
        precision_high=precision,
        ahead=lead,
        ahead_low=None if lead is None else lead - 1.96 * error,
        ahead_high=None if lead is None else lead + 1.96 * error,
        recall_at_k=0.1,
        ndcg_at_10=0.1,
        catalog_coverage=0.2,
        full_lists=1.0,
        overlap=0.1,
    )


FIVE_TENTHS = 0.9**5


@pytest.mark.parametrize(("customers", "precision"), [(100, MODEST), (100, REAL), (1547, REAL)])
def test_five_losses_of_a_tenth_cannot_add_up(customers, precision):
    _, quality = held_weeks(customers, precision, loss=0.1)
    assert quality > FIVE_TENTHS + 0.05


def test_without_the_best_recent_version_losses_add_up_in_a_small_shop():
    assert held_weeks(100, MODEST, loss=0.1, best_recent=False)[1] < FIVE_TENTHS - 0.05
    slow = {"customers": 100, "precision": MODEST, "loss": 0.05}
    assert held_weeks(**slow)[1] > held_weeks(**slow, best_recent=False)[1] + 0.05


@pytest.mark.parametrize(("customers", "precision"), [(60, LOW), (100, REAL), (1547, REAL)])
def test_honest_weeks_are_rarely_held_and_hardly_ever_by_the_best_recent_version(customers, precision):
    held, _ = held_weeks(customers, precision, loss=0.0)
    without, _ = held_weeks(customers, precision, loss=0.0, best_recent=False)
    assert held <= 0.1
    assert held - without <= 0.04
