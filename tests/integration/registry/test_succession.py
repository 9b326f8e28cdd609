"""Which version may replace which: never an older one a newer one. And where each version comes from."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta

from weekly_versions import BATCH, TODAY, sell

from ncf_pipeline import __version__
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.storage import provenance
from ncf_pipeline.training import report as reports
from ncf_pipeline.training import retrain
from ncf_pipeline.training.earlier_versions import load_incumbent

WEEK = timedelta(days=7)

REGISTER = """
import sys, time
from pathlib import Path
from ncf_pipeline.settings import Settings
from ncf_pipeline.training import retrain
settings = Settings(database_url=sys.argv[1])
Path(sys.argv[3]).touch()
while not Path(sys.argv[4]).exists():
    time.sleep(0.01)
print(retrain.register(settings, int(sys.argv[2])))
"""


def test_if_two_processes_end_a_retrain_at_once_one_version_is_promoted(shop, serve, candidate, states, tmp_path):
    before = serve("before", TODAY - WEEK)
    versions = [candidate(key) for key in "ab"]
    ready, go = [tmp_path / f"ready {version}" for version in versions], tmp_path / "go"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER, shop.database(), str(version), path, go], stdout=subprocess.PIPE, text=True
        )
        for version, path in zip(versions, ready, strict=True)
    ]
    while not all(path.exists() for path in ready):
        assert all(process.poll() is None for process in processes)
    go.touch()
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(said) == ["False", "True"]
    winner, loser = (versions[said.index(answer)] for answer in ("True", "False"))
    assert states() == {before: "retired", winner: "champion", loser: "held"}
    (reason,) = registry.gate_decision(shop, loser).reasons
    assert reason.startswith(f"v{winner} was made champion at ")
    assert "(the gate let it through)" in reason


def test_a_second_try_of_a_registration_changes_nothing(shop, candidate, states):
    version = candidate("a")
    assert retrain.register(shop, version)
    assert retrain.register(shop, version)
    assert states() == {version: "champion"}
    assert len(registry.model_events(shop, version)) == 2


def test_a_missed_week_that_is_run_later_does_not_replace_a_newer_version(shop, serve, candidate, states, live):
    newer = serve("this week")
    seen = live()
    missed = candidate("last week", TODAY - WEEK)
    assert not retrain.register(shop, missed)
    assert states() == {newer: "champion", missed: "held"}
    (reason,) = registry.gate_decision(shop, missed).reasons
    assert reason == (
        f"v{newer} serves and has learned from purchases until 2011-12-09 00:00:00, this version only until "
        "2011-12-02 00:00:00: an older model does not replace a newer one."
    )
    assert live() == seen


def test_a_missed_week_that_is_promoted_knows_the_purchases_that_the_live_lists_knew(
    shop, serve, candidate, live, store
):
    """The champion is older than the missed week, but its lists were refreshed since."""
    from ncf_pipeline.serving.publish import refresh

    serve("long ago", TODAY - 4 * WEEK)
    refresh(shop)
    newest = registry.publications(shop)[0].as_of
    missed = candidate("last week", TODAY - WEEK)
    assert retrain.register(shop, missed)
    retrain.publish(shop, missed)
    assert live() == ("p000003", f"v{missed}")
    assert registry.publications(shop)[0].as_of == newest > TODAY - WEEK


def test_of_four_weekly_versions_no_incumbent_has_seen_the_holdout(shop, serve):
    """By the table, by the incumbent's own artifact, and by the purchases that it was trained on."""
    versions = [serve(f"week {week}", TODAY - (3 - week) * WEEK) for week in range(4)]
    compared = {}
    for version in versions:
        candidate = registry.model_version(shop, version)
        for holdout in (WEEK, 2 * WEEK, 4 * WEEK):
            start = candidate.cutoff - holdout
            incumbent = registry.incumbent(shop, holdout_start=start, before_version=version)
            compared[version, holdout // WEEK] = incumbent and incumbent.version
            if incumbent is None:
                assert load_incumbent(shop, replace(candidate, holdout_start=start)) == (None, None, None)
                continue
            _, model, _ = load_incumbent(shop, replace(candidate, holdout_start=start))
            given = read_snapshot(shop, incumbent.snapshot_id)
            manifest = artifacts.read_manifest(incumbent.url)
            assert manifest["version"] == incumbent.version
            assert datetime.fromisoformat(manifest["config"]["cutoff"]) == model.cutoff == given.cutoff <= start
            assert given.interactions["purchased_at"].max() < start
    first, second, third, fourth = versions
    assert {each: with_whom for each, with_whom in compared.items() if with_whom} == {
        (second, 1): first,
        (third, 1): second,
        (third, 2): first,
        (fourth, 1): third,
        (fourth, 2): second,
    }


def test_a_second_try_of_a_run_keeps_the_champion_under_which_it_began(shop, serve, candidate):
    first = serve("a", TODAY - WEEK)
    running = candidate("running")
    serve("b")
    again = candidate("running")
    assert again == running
    assert registry.model_version(shop, running).parent == first
    assert not retrain.register(shop, running)


def test_a_version_shows_its_parent_batches_and_code(shop, serve, candidate):
    first = serve("a", TODAY - WEEK)
    sell(shop, TODAY, TODAY + timedelta(days=1), batch=9)
    version = candidate("b", TODAY + timedelta(days=1))
    summary = reports.retrain_summary(shop, version)
    assert (summary.model.parent, summary.batches) == (first, [BATCH, 9])
    shown = summary.as_dict()
    assert shown["code"]["package_version"] == __version__
    assert shown["code"] == provenance.code()
    assert len(shown["code"]["sha256"]) == len(hashlib.sha256().hexdigest())
    assert reports.retrain_summary(shop, first).batches == [BATCH]
    assert [event["to_state"] for event in shown["events"]] == ["candidate"]


def test_a_snapshot_keeps_the_batches_of_its_first_taking(shop):
    from ncf_pipeline.registry.snapshots import read_snapshot

    first = take_snapshot(shop, TODAY)
    assert take_snapshot(shop, TODAY) == first
    assert read_snapshot(shop, first).batches == (BATCH,)


def test_a_checkout_names_its_commit(tmp_path):
    root = tmp_path / "checkout"
    root.mkdir()
    assert provenance._commit(root) is None
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert provenance._commit(root) is None  # nothing committed yet
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert provenance._commit(root) == head
