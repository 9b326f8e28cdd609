"""Which earlier versions a candidate is compared with, and which of them is the best; with a real registry."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from weekly_versions import TODAY, WEEK, candidate, serve, shop, store  # noqa: F401 (fixtures)

from ncf_pipeline.evaluation.scores import truth_of
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot
from ncf_pipeline.serving.prune import prune
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.training.earlier_versions import best_recent, evenly, load_incumbent, recent


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"holdout_days": 28})


@pytest.fixture
def weekly(serve):  # noqa: F811
    """Versions 1 to 6 that served; their cutoffs are 20, 12, 8, 6, 4 and 3 weeks before today."""
    return [serve(f"week {weeks}", TODAY - weeks * WEEK) for weeks in (20, 12, 8, 6, 4, 3)]


@pytest.fixture
def newest(settings, weekly, candidate):  # noqa: F811
    """The candidate of today. Its holdout starts 28 days ago."""
    return registry.model_version(settings, candidate("today"))


def of(entries):
    return [entry.version for entry in entries]


def test_recent_versions_have_not_seen_the_holdout_and_are_at_most_so_old(settings, newest):
    assert of(recent(settings, newest)) == [5, 4, 3, 2]  # 6 has seen a week of the holdout, 1 is too old
    assert of(recent(settings.model_copy(update={"gate_recent_weeks": 8}), newest)) == [5, 4, 3]
    assert recent(settings.model_copy(update={"gate_recent_weeks": 0}), newest) == []


def test_a_version_that_was_rolled_back_or_pruned_or_never_served_is_left_out(settings, newest, candidate):  # noqa: F811
    candidate("never served", TODAY - 5 * WEEK)
    rollback(settings, 4, actor="test")  # from 6: only that one is withdrawn
    rollback(settings, 3, actor="test")  # from 4
    assert of(recent(settings, newest)) == [5, 3, 2]


def test_every_version_that_is_compared_with_survives_pruning(settings, newest, store):  # noqa: F811
    store.flushall()  # all stopped serving long ago, so nothing but the comparison needs 2
    long_after = newest.created_at + timedelta(weeks=30)
    prune(settings.model_copy(update={"keep_weeks": 1}), now=long_after)
    assert of(recent(settings, newest)) == [5, 4, 3, 2]
    for entry in recent(settings, newest):
        artifacts.load_model(entry.url)
    prune(settings.model_copy(update={"keep_weeks": 1, "gate_recent_weeks": 1}), now=long_after)
    assert 2 not in of(recent(settings, newest))


def test_many_versions_are_thinned_out_evenly():
    assert evenly(list(range(20)), 8) == [0, 3, 5, 8, 11, 14, 16, 19]
    assert evenly([1, 2, 3], 8) == [1, 2, 3]


@pytest.fixture
def compare(settings, newest):
    """Compares versions whose lists have so many hits, of two places, with customer 1 alone."""
    data = read_snapshot(settings, newest.snapshot_id)
    truth = truth_of(data.interactions, newest.holdout_start, newest.cutoff)
    asked = []

    def lists(version, hits):
        rows = []
        for name in ("for_you", "discover"):
            for customer in truth.known_customers:
                good = sorted(truth.bought[name].get(customer, ()))[: hits.get((version, name), 0)]
                rows.append(("customer", str(customer), name, [*good, f"of v{version}"]))
        return pd.DataFrame(rows, columns=["audience", "key", "list_name", "stock_codes"])

    def run(hits):
        asked.clear()
        incumbent, model, _ = load_incumbent(settings, newest)
        by_cutoff = {entry.cutoff: entry.version for entry in registry.model_versions(settings)}

        def recommend(model):
            asked.append(by_cutoff[model.cutoff])
            return lists(asked[-1], hits)

        found = best_recent(
            settings,
            newest,
            truth,
            recommend,
            k=2,
            incumbent=incumbent,
            incumbent_lists=lists(incumbent.version, hits) if model is not None else None,
        )
        assert list(found.scored) == asked
        return found

    return run


def versions_of(lists):
    """By question, the versions whose lists these are."""
    return {name: set(group["stock_codes"].str[-1]) for name, group in lists.groupby("list_name")}


def test_the_best_is_kept_for_each_question_and_the_incumbent_is_not_scored_again(compare):
    found = compare({(5, "for_you"): 1, (3, "for_you"): 2, (4, "for_you"): 1, (5, "discover"): 1, (2, "discover"): 2})
    assert found.scored == (4, 3, 2)
    assert found.best == {"for_you": 3, "discover": 2}
    assert versions_of(found.lists) == {"for_you": {"of v3"}, "discover": {"of v2"}}
    assert found.skipped == {}


def test_if_the_incumbent_is_the_best_there_is_no_other_and_a_tie_is_for_the_incumbent(compare):
    found = compare({(5, "for_you"): 2, (3, "for_you"): 1, (5, "discover"): 1, (2, "discover"): 1})
    assert found.best == {}
    assert found.lists.empty
    found = compare({(5, "for_you"): 2, (3, "discover"): 1, (2, "discover"): 1})
    assert found.best == {"discover": 3}  # of two that are tied, the newer
    assert versions_of(found.lists) == {"discover": {"of v3"}}


def test_a_damaged_version_is_skipped_with_the_reason(settings, compare):
    folder = Path(registry.model_version(settings, 3).url.removeprefix("file://"))
    (folder / "manifest.json").write_text("{}")
    found = compare({(3, "for_you"): 2, (2, "for_you"): 1})
    assert found.best == {"for_you": 2}
    assert found.scored == (4, 2)
    assert list(found.skipped) == [3]
    assert found.skipped[3].startswith("NO COMPARISON with v3, a recent version: ")
    assert found.as_dict()["skipped"] == {"3": found.skipped[3]}


def test_without_an_incumbent_that_can_score_the_others_are_still_scored(settings, compare):
    folder = Path(registry.model_version(settings, 5).url.removeprefix("file://"))
    (folder / "manifest.json").write_text("{}")
    found = compare({(4, "for_you"): 1})
    assert found.best["for_you"] == 4
    assert 5 not in found.scored
