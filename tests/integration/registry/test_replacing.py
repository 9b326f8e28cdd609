"""A model is whole at every moment, in a folder and in an object store, and it is the one that was registered."""

import errno
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
import torch
from weekly_versions import TODAY, WEEK

from ncf_pipeline.errors import ArtifactError, DamagedModelError, StoreUnavailableError
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel, new_network
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.serving.prune import prune
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import list_files, new_file
from ncf_pipeline.training.earlier_versions import load_incumbent


def model(customer):
    recipe = Recipe(embedding_dim=4, hidden=(8, 4))
    torch.manual_seed(customer)
    network = new_network(1, 2, recipe).eval()
    return TrainedModel(recipe, datetime(2011, 12, 9), [str(customer)], ["22423", "85123A"], network, epochs=1)


def weights(a_model):
    return {name: tensor.tolist() for name, tensor in a_model.network.state_dict().items()}


FIRST, SECOND = model(1), model(2)
EACH = {1: weights(FIRST), 2: weights(SECOND)}


@pytest.fixture(params=["file", "s3"])
def url(request, tmp_path):
    if request.param == "file":
        return (tmp_path / "models" / "v000001").as_uri()
    return request.getfixturevalue("bucket") + "/models/v000001"


def save(a_model, url, known=None):
    artifacts.save_model(
        a_model, url, lineage={"version": 1}, card="# Card", figures={"loss.svg": b"<svg/>"}, known=known
    )


def loaded(url):
    """Which model is there; it must be all of one model."""
    back = artifacts.load_model(url)
    customer = int(back.customers[0])
    assert weights(back) == EACH[customer]
    return customer


@pytest.mark.parametrize("step", range(1, 5))
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_writer_that_is_refused_or_killed_at_any_step_leaves_the_model_that_was_there(url, step, fault, monkeypatch):
    save(FIRST, url)
    filesystem, _ = fsspec.core.url_to_fs(url)
    rename, names = type(filesystem).mv, []

    def fail(name):
        names.append(name)
        if len(names) == step:
            raise fault

    def replaced(path, target, rename=Path.replace):
        fail(str(target))
        return rename(path, target)

    def moved(self, source, target, **options):
        fail(target)
        return rename(self, source, target, **options)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(type(filesystem), "mv", moved)
    with pytest.raises((StoreUnavailableError, KeyboardInterrupt)):
        save(SECOND, url)
    assert loaded(url) == 1
    monkeypatch.undo()
    assert not [name for name in list_files(url) if name.endswith(".tmp")]
    save(SECOND, url)
    assert loaded(url) == 2
    assert artifacts.read_file(url, "loss.svg") == b"<svg/>"


def test_the_first_writer_that_is_killed_leaves_no_folder_that_looks_complete(url, monkeypatch):
    monkeypatch.setattr(artifacts, "sealed", lambda manifest: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(FIRST, url)
    with pytest.raises(DamagedModelError, match=r"manifest\.json is missing: the artifact is incomplete"):
        artifacts.load_model(url)
    monkeypatch.undo()
    save(FIRST, url)
    assert loaded(url) == 1


def write_for_ever(url):
    while True:
        save(FIRST, url)
        save(SECOND, url)


def test_whoever_is_killed_by_the_system_in_the_middle_leaves_a_whole_model(tmp_path):
    url = (tmp_path / "v000001").as_uri()
    save(FIRST, url)
    moments = random.Random(16)
    for _ in range(12):
        writer = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(url,))
        writer.start()
        time.sleep(moments.uniform(0.005, 0.12))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        loaded(url)


def test_a_reader_beside_two_writers_always_finds_one_of_their_models(url):
    save(FIRST, url)
    done, failed = threading.Event(), []

    def write(a_model):
        try:
            for _ in range(6):
                save(a_model, url)
        except BaseException as error:
            failed.append(error)

    def read():
        try:
            while not done.is_set():
                loaded(url)
        except BaseException as error:
            failed.append(error)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(each,)) for each in (FIRST, SECOND)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert failed == []
    assert loaded(url) in EACH


def test_a_reader_that_is_overtaken_reads_the_model_that_took_its_place(url, monkeypatch):
    """Only an erasure removes files at once; the reader has seen the manifest from before it."""
    save(FIRST, url)
    check, replaced = artifacts._checked, []

    def overtaken(*arguments):
        if not replaced:
            replaced.append(True)
            older = artifacts.files_of(url)
            save(SECOND, url)
            artifacts.remove_files(url, keep=artifacts.files_of(url))
            assert not older & set(list_files(url)) & {name for name in older if name.endswith("safetensors")}
        return check(*arguments)

    monkeypatch.setattr(artifacts, "_checked", overtaken)
    assert loaded(url) == 2


def test_a_file_and_its_name_are_on_the_disk_before_anybody_is_told(tmp_path, monkeypatch):
    sync, synced = os.fsync, []

    def record(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name[:8], (tmp_path / "new" / "folder" / "list.txt").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with new_file(f"file://{tmp_path}/new/folder/list.txt") as file:
        file.write(b"all of it")
    assert synced == [("new", False), (tmp_path.name[:8], False), ("list.txt", False), ("folder", True)]


def test_each_writer_of_a_file_has_a_name_of_its_own(url):
    file = f"{url}/list.txt"
    with new_file(file) as first:
        first.write(b"the first")
        with new_file(file) as second:
            second.write(b"the second, which is longer")
    filesystem, path = fsspec.core.url_to_fs(file)
    assert filesystem.cat_file(path) == b"the first"
    assert set(list_files(url)) == {"list.txt"}


def as_an_earlier_version_wrote_it(url):
    filesystem, path = fsspec.core.url_to_fs(url)
    manifest = artifacts.read_manifest(url)
    for name, stored in manifest.pop("stored_as").items():
        filesystem.mv(f"{path}/{stored}", f"{path}/{name}")
    filesystem.pipe_file(f"{path}/manifest.json", artifacts.sealed(manifest))


def test_a_folder_of_an_earlier_version_loads_and_can_be_replaced(url):
    save(FIRST, url)
    as_an_earlier_version_wrote_it(url)
    assert set(list_files(url)) == {
        *("manifest.json", "model.safetensors", "vocabularies.json"),
        "model_card.md",
        "loss.svg",
    }
    assert loaded(url) == 1
    artifacts.revise_card(url, lambda card: f"{card}, revised")
    assert (loaded(url), artifacts.read_file(url, "model_card.md")) == (1, b"# Card, revised")
    assert artifacts.erase_customer(url, "1", {"erasure": 1})
    assert artifacts.load_model(url).customers == []
    save(SECOND, url)
    assert loaded(url) == 2


def test_what_no_manifest_names_is_removed_after_a_week(shop, serve, candidate):
    version = serve("a")
    held = candidate("runs again and again")
    registry.hold(shop, held, ["because"])
    for number in (version, held):
        url = artifacts.version_url(shop.artifacts, number)
        again = replace(artifacts.load_model(url), epochs=3)
        with new_file(f"{url}/0123456789abcdef-model.safetensors") as file:
            file.write(b"of a killed writer")
        artifacts.save_model(again, url, lineage={"version": number}, card="# Another card", known=None)
    assert prune(shop).unfinished == 0  # a writer may be about to name them
    later = datetime.now(UTC) + timedelta(days=8)
    assert prune(shop, now=later).unfinished >= 2
    url = artifacts.version_url(shop.artifacts, version)
    assert set(list_files(url)) == artifacts.files_of(url) | {"manifest.json", "model_card.md"}
    assert artifacts.load_model(url).epochs == 3
    assert prune(shop, now=later).unfinished == 0


@pytest.fixture
def two(shop, serve):
    """The URLs of two versions; the second one serves."""
    return [artifacts.version_url(shop.artifacts, serve(name, at)) for name, at in (("a", TODAY - WEEK), ("b", TODAY))]


def put(url, content):
    filesystem, path = fsspec.core.url_to_fs(url)
    for name in [name for name in list_files(url) if name != "manifest.json"]:
        filesystem.rm(f"{path}/{name}")
    for name, each in content.items():
        filesystem.pipe_file(f"{path}/{name}", each)


def content_of(url):
    filesystem, path = fsspec.core.url_to_fs(url)
    return {name: filesystem.cat_file(f"{path}/{name}") for name in list_files(url)}


def resealed(of_first, of_second):
    """The second version's manifest with the first one's files, and with right checksums."""
    ours, theirs = (json.loads(content["manifest.json"]) for content in (of_second, of_first))
    manifest = ours | {part: theirs[part] for part in ("sha256", "stored_as")}
    return {**of_first, "manifest.json": artifacts.sealed(manifest)}


@pytest.mark.parametrize("swap", [lambda first, second: first, resealed], ids=["the folder", "the files"])
def test_another_versions_model_is_refused_although_its_checksums_are_right(shop, two, live, swap):
    first, second = two
    put(second, swap(content_of(first), content_of(second)))
    artifacts.load_model(second)  # as the folder says, all is well
    seen = live()
    with pytest.raises(DamagedModelError, match=r"manifest\.json was swapped: .* Retrain, or roll back\.") as refused:
        refresh(shop)
    assert "\n" not in str(refused.value)
    assert live() == seen
    newer = replace(registry.model_version(shop, 2), version=3, holdout_start=TODAY)
    assert load_incumbent(shop, newer)[1] is None


def test_a_backtest_does_not_pass_for_its_refit(shop, two):
    backtest, refit = (artifacts.version_url(shop.artifacts, 2, backtest=each) for each in (True, False))
    known = KnownManifests(shop, 2, is_backtest=True)
    artifacts.revise_card(backtest, lambda card: f"{card} of the backtest", known=known)
    put(refit, content_of(backtest))
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("select is_backtest, cardinality(sha256) from ml.model_manifest where version = 2 order by 1")
        assert cursor.fetchall() == [(False, 1), (True, 1)]
    artifacts.load_model(backtest, known=known)
    with pytest.raises(DamagedModelError, match="swapped: it is not the one that was written for v2"):
        artifacts.load_model(refit, known=KnownManifests(shop, 2))


def test_a_model_from_before_loads_if_its_manifest_is_whole_and_names_the_version(shop, two, live):
    first, second = two
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("delete from ml.model_manifest")
    assert refresh(shop) == 3
    artifacts.revise_card(second, lambda card: card + "!", known=KnownManifests(shop, 2))
    assert refresh(shop) == 4
    put(second, content_of(first))
    with pytest.raises(ArtifactError, match="was swapped: it is that of v1, not of v2"):
        refresh(shop)


@pytest.mark.parametrize("step", ["_replace", "forget"])
def test_a_writer_that_is_killed_around_its_manifest_leaves_a_model_that_the_database_knows(
    shop, two, step, monkeypatch
):
    _, second = two
    known = KnownManifests(shop, 2)

    def killed(*arguments):
        if step == "forget" or arguments[0].endswith(artifacts.MANIFEST):
            raise KeyboardInterrupt
        return replaced(*arguments)

    replaced = artifacts._replace
    monkeypatch.setattr(*((artifacts, step) if step == "_replace" else (KnownManifests, step)), killed)
    with pytest.raises(KeyboardInterrupt):
        artifacts.revise_card(second, lambda card: card + "!", known=known)
    monkeypatch.undo()
    artifacts.load_model(second, known=known)
    artifacts.revise_card(second, lambda card: card + "?", known=known)
    artifacts.load_model(second, known=known)


def test_a_swapped_model_does_not_become_known_by_a_change_of_it(shop, two):
    first, second = two
    put(second, resealed(content_of(first), content_of(second)))
    known = KnownManifests(shop, 2)
    with pytest.raises(DamagedModelError, match="swapped"):
        artifacts.revise_card(second, lambda card: card + "!", known=known)
    artifacts.erase_customer(second, "14601", {"erasure": 1}, known=known)
    with pytest.raises(DamagedModelError, match="swapped"):
        artifacts.load_model(second, known=known)
