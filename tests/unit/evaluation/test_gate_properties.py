"""Properties of the gate's rule, over random evaluations."""

from dataclasses import fields, replace
from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st

from ncf_pipeline.evaluation.gate import MUST_BEAT, TrainingFacts, decide
from ncf_pipeline.evaluation.scores import EVERYONE, Scores
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.decision import thresholds

SHARE = st.floats(0, 1)
RAILS = st.tuples(SHARE, SHARE, SHARE)
LEAD = st.floats(-0.2, 0.4)
WORTH, LINES = st.floats(-3, 30), st.integers(0, 1000)
NOT_FINITE = st.sampled_from([nan, inf, -inf])
AS_SET = thresholds(Settings())
LIMITS = st.builds(
    lambda when, few: replace(AS_SET, when_too_few=when, min_customers=few),
    st.sampled_from(["hold", "go"]),
    st.integers(1, 200),
)
GOOD = st.floats(0.05, 0.4)


def scores(recommender, question, cohort, customers, ahead, doubt, rails):
    coverage, full, overlap = rails
    return Scores(
        recommender=recommender,
        question=question,
        cohort=cohort,
        k=5,
        customers=customers,
        precision_at_k=0.3,
        precision_low=0.28,
        precision_high=0.32,
        ahead=ahead,
        ahead_low=None if ahead is None else ahead - doubt,
        ahead_high=None if ahead is None else ahead + doubt,
        recall_at_k=0.1,
        ndcg_at_10=0.1,
        catalog_coverage=coverage,
        full_lists=full,
        overlap=overlap,
    )


@st.composite
def evaluations(draw, *, leads=LEAD, rails=RAILS):
    """A candidate, the baselines and often an incumbent, over everyone and a cohort."""
    with_incumbent, found = draw(st.booleans()), []
    for question, baselines in MUST_BEAT.items():
        for cohort in (EVERYONE, "1 invoice"):
            customers = draw(st.integers(1, 300))
            found.append(scores("candidate", question, cohort, customers, None, 0, draw(rails)))
            for name in (*baselines, "version_0", *(["incumbent", "best_recent"] if with_incumbent else [])):
                doubt = draw(st.floats(0, 0.05))
                found.append(scores(name, question, cohort, customers, draw(leads), doubt, (0.3, 1.0, 0.1)))
    return found


@st.composite
def trainings(draw):
    return TrainingFacts(
        losses=tuple(draw(st.lists(st.floats(0, 30), max_size=3))),
        out_of_time=draw(st.booleans()),
        finite_weights=draw(st.booleans()),
        lines=draw(LINES),
        lines_there=draw(LINES),
        incumbent_lines=draw(st.none() | LINES),
        customers_in_place=draw(st.booleans()),
        products_in_place=draw(st.booleans()),
        queries=draw(st.integers(0, 300)),
        customers_worth=draw(WORTH),
        products_worth=draw(WORTH),
    )


GOOD_SCORES = evaluations(leads=GOOD, rails=st.just((0.3, 1.0, 0.1))).map(
    lambda found: [replace(score, customers=300) for score in found]
)
GOOD_TRAINING = TrainingFacts((16.0, 15.0), False, True, 1000, 1000, 1000, True, True, 400, 10.0, 20.0)


@given(GOOD_SCORES.map(lambda found: [_without_doubt(score) for score in found]), st.data())
def test_a_candidate_with_a_number_that_is_not_finite_never_passes(good, data):
    assert decide(good, GOOD_TRAINING, AS_SET).promote
    index = data.draw(st.integers(0, len(good) - 1))
    own = good[index].recommender == "candidate"
    names = [
        entry.name
        for entry in fields(Scores)
        if isinstance(getattr(good[index], entry.name), float) and (own or entry.name.startswith("ahead"))
    ]
    changed = replace(good[index], **{data.draw(st.sampled_from(names)): data.draw(NOT_FINITE)})
    spoilt = [*good[:index], changed, *good[index + 1 :]]
    assert not decide(spoilt, GOOD_TRAINING, data.draw(LIMITS)).promote


@given(GOOD_SCORES.map(lambda found: [_without_doubt(score) for score in found]), NOT_FINITE, LIMITS)
def test_a_training_with_a_number_that_is_not_finite_never_passes(good, value, limits):
    for spoilt in (
        {"losses": (16.0, value)},
        {"customers_worth": value, "queries": 3},
        {"products_worth": value, "queries": 3},
    ):
        assert not decide(good, replace(GOOD_TRAINING, **spoilt), limits).promote


def _without_doubt(score):
    return score if score.ahead is None else replace(score, ahead_low=score.ahead, ahead_high=score.ahead)


@given(evaluations(), trainings(), LIMITS, st.data())
def test_a_worse_candidate_never_passes_if_a_better_one_is_held(better, training, limits, data):
    if decide(better, training, limits).promote:
        return
    by = data.draw(st.lists(st.floats(0, 0.3), min_size=len(better), max_size=len(better)))
    worse = [_worse(score, loss) for score, loss in zip(better, by, strict=True)]
    assert not decide(worse, training, limits).promote


@given(GOOD_SCORES, trainings(), LIMITS)
def test_a_candidate_that_was_trained_worse_never_passes_if_a_better_one_is_held(good, training, limits):
    if decide(good, training, limits).promote:
        return
    less = replace(training, lines=training.lines // 2, products_worth=training.products_worth - 1, out_of_time=True)
    assert not decide(good, less, limits).promote


@given(evaluations(), trainings(), LIMITS)
def test_stricter_thresholds_never_let_more_through(given_scores, training, limits):
    stricter = replace(
        limits,
        baseline_margin=limits.baseline_margin + 0.01,
        small_loss=limits.small_loss / 2,
        max_loss=limits.max_loss / 2,
        max_slide=limits.max_slide / 2,
        max_cohort_loss=limits.max_cohort_loss / 2,
        min_coverage_ratio=0.5,
        max_overlap=0.2,
        min_lines=1.0,
        min_ids_worth=5.0,
        when_too_few="hold",
    )
    if decide(given_scores, training, stricter).promote:
        assert decide(given_scores, training, limits).promote


@given(evaluations(), trainings(), LIMITS)
def test_every_decision_has_a_reason(given_scores, training, limits):
    assert all(decide(given_scores, training, limits).reasons)
    assert decide(given_scores, training, limits).reasons


def _worse(score, loss):
    """The scores of a candidate that hits less, and whose lists are less diverse."""
    if score.recommender == "candidate":
        return replace(
            score,
            catalog_coverage=max(0.0, score.catalog_coverage - loss),
            full_lists=max(0.0, score.full_lists - loss),
            overlap=min(1.0, score.overlap + loss),
        )
    return replace(
        score, ahead=score.ahead - loss, ahead_low=score.ahead_low - loss, ahead_high=score.ahead_high - loss
    )
