import threading
from datetime import UTC, datetime

import psycopg2
import pytest

from ncf_pipeline.errors import DatabaseError, InputError
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.training.decision import thresholds


def open_version(settings, run_key="run", cutoff="2011-12-09", holdout_start="2011-11-11"):
    return registry.open_version(
        settings,
        run_key=run_key,
        snapshot_id="s000001",
        cutoff=datetime.fromisoformat(cutoff),
        holdout_start=datetime.fromisoformat(holdout_start),
        config={"k": 5},
        requested_by="admin (manual)",
    )


def pass_gate(settings, version, promote=True):
    decision = GateDecision(promote, ("because",), thresholds(settings), ())
    registry.record_decision(settings, version, decision, details={"incumbent": None})


def promoted(settings, run_key, **times):
    version = open_version(settings, run_key, **times)
    pass_gate(settings, version)
    registry.record_artifact(settings, version, f"file:///models/{run_key}")
    registry.promote(settings, version, actor="admin (manual)", reason="test")
    return version


def states(settings):
    return {entry.version: entry.state for entry in registry.model_versions(settings)}


def test_a_second_try_of_the_same_run_continues_its_version(settings):
    assert open_version(settings, "a") == open_version(settings, "a")
    assert open_version(settings, "b") != open_version(settings, "a")


def test_a_promotion_retires_the_champion_before(settings):
    first, second = promoted(settings, "a"), promoted(settings, "b")
    assert states(settings) == {first: "retired", second: "champion"}
    assert registry.champion(settings).version == second
    registry.restore(settings, first, actor="ops", reason="rollback")  # and back
    assert states(settings) == {first: "champion", second: "retired"}


def test_every_change_of_state_is_stored_with_its_actor_and_reason(settings):
    first, _ = promoted(settings, "a"), promoted(settings, "b")
    registry.restore(settings, first, actor="ops", reason="rollback")
    with transaction(settings) as connection:
        connection.cursor().execute("update ml.model_version set state = 'retired' where version = %s", (first,))
    events = registry.model_events(settings, first)
    assert [(event.from_state, event.to_state, event.actor, event.reason) for event in events] == [
        (None, "candidate", "admin (manual)", "run a"),
        ("candidate", "champion", "admin (manual)", "test"),
        ("champion", "retired", "admin (manual)", "test"),
        ("retired", "champion", "ops", "rollback"),
        ("champion", "retired", "ncf", None),  # by hand: the database's own user
    ]


def test_a_version_that_the_gate_held_cannot_serve(settings):
    version = open_version(settings)
    pass_gate(settings, version, promote=False)
    registry.record_artifact(settings, version, "file:///models/v1")
    assert states(settings) == {version: "held"}
    with pytest.raises(InputError, match=f"v{version} cannot serve"):
        registry.promote(settings, version, actor="ops", reason="test")


def test_a_version_without_an_artifact_cannot_serve(settings):
    version = open_version(settings)
    pass_gate(settings, version)
    with pytest.raises(InputError, match="cannot serve"):
        registry.promote(settings, version, actor="ops", reason="test")


def test_the_database_refuses_a_second_champion(settings):
    promoted(settings, "a")
    second = open_version(settings, "b")
    with pytest.raises(DatabaseError, match="one_champion"), transaction(settings) as connection:
        connection.cursor().execute(
            "update ml.model_version set state = 'champion', url = 'x' where version = %s", (second,)
        )


def test_two_promotions_at_once_leave_one_champion(settings):
    versions = []
    for key in "abcd":
        version = open_version(settings, key)
        pass_gate(settings, version)
        registry.record_artifact(settings, version, "file:///x")
        versions.append(version)

    def promote(version):
        registry.promote(settings, version, actor="ops", reason="race")

    threads = [threading.Thread(target=promote, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states(settings).values()) == ["champion", "held", "held", "held"]


def test_the_incumbent_is_the_newest_promoted_version_that_has_not_seen_the_holdout(settings):
    """Four weekly versions: a model that was refitted up to day t must not be compared on days before t."""
    weekly = [
        promoted(settings, f"week {week}", cutoff=f"2011-11-{day:02d}", holdout_start="2011-10-01")
        for week, day in enumerate((4, 11, 18, 25))
    ]
    candidate = open_version(settings, "candidate", cutoff="2011-12-16", holdout_start="2011-11-18")
    incumbent = registry.incumbent(settings, holdout_start=datetime(2011, 11, 18), before_version=candidate)
    assert incumbent.version == weekly[2]  # its cutoff is the holdout's start, which it has not seen
    incumbent = registry.incumbent(settings, holdout_start=datetime(2011, 11, 17), before_version=candidate)
    assert incumbent.version == weekly[1]
    assert registry.incumbent(settings, holdout_start=datetime(2011, 11, 3), before_version=candidate) is None


def test_scores_come_back_in_the_order_in_which_they_were_recorded(settings):
    version = open_version(settings)
    scores = [
        Scores(name, question, "everyone", 5, 9, 0.3, 0.2, 0.4, ahead, ahead, ahead, 0.1, 0.2, 0.3, 1.0, 0.0)
        for question in ("for_you", "discover")
        for name, ahead in (("candidate", None), ("best_sellers", 0.1))
    ]
    registry.record_evaluation(settings, version, scores)
    assert registry.evaluation(settings, version) == scores
    registry.record_evaluation(settings, version, scores[:1])  # a second try replaces the first
    assert registry.evaluation(settings, version) == scores[:1]


def test_a_decision_is_stored_with_its_reasons(settings):
    version = open_version(settings)
    assert registry.gate_decision(settings, version) is None
    pass_gate(settings, version, promote=False)
    decision = registry.gate_decision(settings, version)
    assert (decision.promote, decision.reasons, decision.details) == (False, ("because",), {"incumbent": None})


def test_publication_numbers_only_rise_even_when_the_list_store_is_ahead(settings):
    assert registry.next_publication_number(settings, live=0) == 1
    assert registry.next_publication_number(settings, live=1) == 2
    assert registry.next_publication_number(settings, live=41) == 42
    assert registry.next_publication_number(settings, live=0) == 43


def test_publications_are_listed_newest_first(settings):
    version = promoted(settings, "a")
    for number in (1, 2):
        entry = Publication(number, version, datetime(2011, 12, 9), f"file:///p{number}", 10, 5, datetime.now(UTC))
        registry.open_publication(settings, entry)
        registry.record_publication(settings, entry)
    assert [entry.number for entry in registry.publications(settings)] == [2, 1]


def test_an_unknown_version_is_an_error_of_one_line(settings):
    with pytest.raises(InputError, match="There is no model version 7"):
        registry.model_version(settings, 7)


def test_a_database_that_cannot_be_reached_is_an_error_of_one_line(settings):
    away = settings.model_copy(update={"database_url": type(settings.database_url)("postgresql://x@127.0.0.1:1/x")})
    with pytest.raises(DatabaseError, match="cannot be reached") as raised:
        registry.model_versions(away)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value.__cause__, psycopg2.OperationalError)
