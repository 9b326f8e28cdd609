"""What stays in the artifact store and what is removed, in a folder and in an object store."""

import logging
from datetime import UTC, datetime, timedelta

import fsspec
import pytest
from weekly_versions import TODAY

from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.registry import artifacts, retention
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving import prune as prune_stage
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.prune import Pruned, prune
from ncf_pipeline.serving.publication import publishing
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import list_files, new_file

WEEK = timedelta(days=7)
NOTHING = Pruned()
ENDED = datetime.now(UTC) + timedelta(days=8)  # every run of these tests has ended by then
LATER = datetime.now(UTC) + timedelta(weeks=9)


@pytest.fixture(params=["file", "s3"])
def settings(request, settings, monkeypatch):
    """Artifacts are in a folder, then in a bucket; Redis keeps three publications."""
    monkeypatch.setattr(publishing, "GRACE_SECONDS", 0)
    url = settings.artifacts_url if request.param == "file" else request.getfixturevalue("bucket")
    return settings.model_copy(update={"artifacts_url": url, "keep_publications": 3})


def files(settings):
    return set(list_files(settings.artifacts))


def whole(settings, folder="models"):
    """The versions whose tensors exist."""
    return {int(name[1:7]) for name in list_files(f"{settings.artifacts}/{folder}") if name.endswith(".safetensors")}


def test_nothing_that_a_run_may_need_is_removed(shop, serve, candidate):
    serve("a", TODAY - WEEK)
    serve("b")
    candidate("running")
    before = files(shop)
    assert prune(shop) == Pruned(backtests=2)  # of the two whose runs have ended
    assert len(files(shop)) == len(before) - 4
    assert whole(shop, "backtests") == {3}


def test_long_after_only_what_serves_or_may_serve_again_is_left(shop, serve, candidate, store, caplog):
    caplog.set_level(logging.INFO)
    settings = shop.model_copy(update={"holdout_days": 14, "gate_recent_weeks": 1})
    versions = [serve(f"week {week}", TODAY - (6 - week) * WEEK) for week in range(6)]
    held = candidate("held")
    registry.hold(shop, held, ["because"])
    removed = prune(settings, now=LATER)
    # The fourth has seen nothing of the champion's holdout, and a rollback goes to the fifth; the others are old.
    assert whole(shop) == {4, 5, 6}
    assert whole(shop, "backtests") == set()
    assert removed.models == 4
    assert all(
        (entry.pruned_at is not None) == (entry.version not in (4, 5, 6)) for entry in registry.model_versions(shop)
    )
    published = set(list_files(f"{shop.artifacts}/publications"))
    assert published == {"p000004.parquet", "p000005.parquet", "p000006.parquet"}
    for entry in registry.model_versions(shop):
        if entry.version in (4, 5, 6):
            read_snapshot(shop, entry.snapshot_id)
    with pytest.raises(ArtifactError, match="s000001 is no longer kept, since"):
        read_snapshot(shop, "s000001")
    tensors = artifacts.read_manifest(f"{shop.artifacts}/models/v000001")["stored_as"]["model.safetensors"]
    for name in (f"models/v000001/{tensors}", "publications/p000001.parquet"):
        assert f"Removed {shop.artifacts}/{name}." in caplog.messages
    assert "Removed snapshot s000001." in caplog.messages
    assert "models/v000001/model_card.md" in files(shop)
    event = registry.model_events(shop, versions[0])[-1]
    assert (event.actor, event.reason) == ("prune", "nobody needs its model any more")
    # A rollback still works, and one to a pruned version fails before anything changes.
    with pytest.raises(InputError, match="v1 is no longer kept, since"):
        rollback(shop, versions[0], actor="ops")
    store.flushall()
    assert rollback(shop, actor="ops").version == versions[-2]
    assert refresh(shop) is not None


def test_it_can_be_run_again(shop, serve):
    for week in range(4):
        serve(f"week {week}", TODAY - (9 - 2 * week) * WEEK)
    settings = shop.model_copy(update={"holdout_days": 1, "gate_recent_weeks": 1})
    prune(settings, now=LATER)
    left, events = files(shop), registry.model_events(shop, 1)
    assert prune(settings, now=LATER) == NOTHING
    assert (files(shop), registry.model_events(shop, 1)) == (left, events)


def test_the_next_run_finishes_one_that_was_killed(shop, serve, monkeypatch):
    for week in range(4):
        serve(f"week {week}", TODAY - (9 - 2 * week) * WEEK)
    settings = shop.model_copy(update={"holdout_days": 1, "gate_recent_weeks": 1})
    remove, removed = prune_stage.remove_file, []

    def killed(url):
        if len(removed) == 3:
            raise KeyboardInterrupt
        removed.append(remove(url))

    monkeypatch.setattr(prune_stage, "remove_file", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(settings, now=LATER)
    monkeypatch.undo()
    prune(settings, now=LATER)
    assert whole(shop) == {2, 3, 4}
    assert whole(shop, "backtests") == set()


def test_a_model_whose_lists_redis_serves_stays_however_old_it_is(shop, serve):
    first = serve("a", TODAY - 9 * WEEK)
    for week in (2, 1):
        serve(f"week {week}", TODAY - week * WEEK)
    publication.flip(shop, 1)  # without the registry
    settings = shop.model_copy(update={"holdout_days": 1, "gate_recent_weeks": 1})
    prune(settings, now=LATER)
    assert first in whole(shop)
    assert "p000001.parquet" in list_files(f"{shop.artifacts}/publications")


def test_a_removed_snapshot_is_written_again_when_the_same_purchases_are_taken_again(shop, serve):
    other = take_snapshot(shop, TODAY - 3 * WEEK)
    serve("a")
    assert prune(shop, now=ENDED).snapshots == 1
    assert take_snapshot(shop, TODAY - 3 * WEEK) == other
    assert read_snapshot(shop, other).cutoff == TODAY - 3 * WEEK


def test_a_snapshot_that_was_just_read_stays(shop, serve):
    serve("a")
    read_snapshot(shop, take_snapshot(shop, TODAY - 3 * WEEK))
    assert prune(shop).snapshots == 0


def test_files_of_a_killed_writer_are_removed_and_foreign_files_stay(shop, serve):
    serve("a")
    filesystem, path = fsspec.core.url_to_fs(shop.artifacts)
    left = [f"{path}/models/v000009.0a1b2c3d.tmp/model.safetensors", f"{path}/publications/p000009.parquet.tmp"]
    theirs = [f"{path}/models/notes.txt", f"{path}/publications/p000009.parquet", f"{path}/elsewhere/a.tmp"]
    for name in left + theirs:
        filesystem.makedirs(name.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(name, b"x")
    assert prune(shop).unfinished == 0  # another process may be writing
    assert prune(shop, now=ENDED).unfinished == 2
    assert not any(map(filesystem.exists, left))
    assert all(map(filesystem.exists, theirs))


def test_a_snapshot_that_no_record_names_is_removed_after_a_week(shop, serve):
    pruned = take_snapshot(shop, TODAY - 3 * WEEK)
    serve("a")
    prune(shop, now=ENDED)
    kept = set(list_files(f"{shop.artifacts}/snapshots"))
    # Two writers were killed before their record was written; the first wrote a pruned snapshot again.
    left = {f"{folder}/interactions.parquet" for folder in (pruned, "s000099", "s000001-e7")}
    for name in left | {"notes/theirs.parquet"}:
        with new_file(f"{shop.artifacts}/snapshots/{name}") as file:
            file.write(b"x")
    assert prune(shop) == NOTHING  # they may still be written
    assert prune(shop, now=ENDED).unfinished == 3
    assert set(list_files(f"{shop.artifacts}/snapshots")) == kept | {"notes/theirs.parquet"}
    assert prune(shop, now=ENDED) == NOTHING


def test_before_the_first_champion_nothing_is_removed(shop, candidate):
    candidate("a")
    before = whole(shop)
    prune(shop, now=LATER)
    assert whole(shop) == before == {1}


def test_a_model_that_is_whole_is_still_read_after_a_file_was_written_beside_it(shop, serve):
    """Listings are not cached: files that another process wrote are seen."""
    version = serve("a")
    url = artifacts.version_url(shop.artifacts, version)
    assert list_files(f"{shop.artifacts}/models")
    with new_file(f"{shop.artifacts}/models/v000002/model.safetensors") as file:
        file.write(b"x")
    assert "v000002/model.safetensors" in list_files(f"{shop.artifacts}/models")
    artifacts.load_model(url)


def test_a_publisher_whose_clock_was_ahead_keeps_its_file_no_longer(shop, serve):
    serve("a", TODAY - WEEK)
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.publication set published_at = now() + interval '10 years'")
    (kept,) = retention.kept_publications(shop)
    assert kept.at < retention.database_now(shop) + timedelta(days=1, minutes=1)


def test_a_publisher_whose_clock_was_behind_keeps_its_file_as_long(shop, serve):
    serve("a", TODAY - WEEK)
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.publication set published_at = now() - interval '400 days'")
    (kept,) = retention.kept_publications(shop)
    assert kept.at > retention.database_now(shop) - timedelta(minutes=5)
