"""Folders of arrays: mapped where they lie, or copied once per machine from an object store."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.registry import arrays as arrays_module
from ncf_pipeline.registry.arrays import MANIFEST, are_there, map_arrays, remove_arrays, remove_copies, write_arrays
from ncf_pipeline.storage.files import list_files

ARRAYS = {
    "numbers": np.arange(12, dtype=np.float32).reshape(3, 4),
    "by column": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "the same": np.arange(12, dtype=np.float32).reshape(3, 4),
    "other kind": np.arange(12, dtype=np.float32).reshape(4, 3),
    "a column": np.arange(12.0).reshape(4, 3)[:, 1],
    "nothing": np.zeros((0, 5), np.float16),
    "truths": np.array([True, False]),
    "who": np.frombuffer(json.dumps(["14601"]).encode(), np.uint8),
}
FACTS = {"of": "a shop", "share": 0.1}


@pytest.fixture(params=["file", "s3"])
def url(request, tmp_path):
    if request.param == "file":
        return (tmp_path / "drafts" / "d000001" / "shared").as_uri()
    return request.getfixturevalue("bucket") + "/drafts/d000001/shared"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def is_local(url):
    return url.startswith("file")


def test_what_is_mapped_is_what_was_written_and_equal_arrays_are_one_file(url, cache):
    assert not are_there(url)
    write_arrays(url, ARRAYS, FACTS, personal=["who"])
    assert are_there(url)
    facts, mapped = map_arrays(url, cache)
    assert facts == FACTS
    assert mapped.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert mapped[name].dtype == array.dtype
        assert mapped[name].flags.f_contiguous == (array.flags.f_contiguous or name == "a column")
        np.testing.assert_array_equal(mapped[name], array)
    assert len(list_files(url)) == len(ARRAYS)  # two are one file, and there is the manifest
    assert b"14601" not in b"".join(path.read_bytes() for path in cache.rglob("*") if path.is_file())


def test_changing_what_is_mapped_changes_no_file(url, cache):
    write_arrays(url, ARRAYS, FACTS)
    _, mapped = map_arrays(url, cache)
    mapped["numbers"][:] = -1
    np.testing.assert_array_equal(map_arrays(url, cache)[1]["numbers"], ARRAYS["numbers"])


def test_what_is_mapped_stays_when_its_files_are_removed(url, cache):
    write_arrays(url, ARRAYS, FACTS)
    _, mapped = map_arrays(url, cache)
    remove_arrays(url)
    remove_copies(cache)
    assert list_files(url) == {}
    assert not list(cache.glob("*"))
    np.testing.assert_array_equal(mapped["numbers"], ARRAYS["numbers"])
    remove_arrays(url)


def test_a_machine_copies_once_and_makes_room_later(url, cache, monkeypatch):
    if is_local(url):
        pytest.skip("nothing is copied on this machine")
    copied = []
    copy = arrays_module._copy
    monkeypatch.setattr(arrays_module, "_copy", lambda url, entry, to: (copied.append(to.name), copy(url, entry, to)))
    write_arrays(url, ARRAYS, FACTS)
    for _ in range(3):
        map_arrays(url, cache)
    assert len(copied) == len(ARRAYS) - 1
    other = url.replace("d000001", "d000002")
    write_arrays(other, {"one": np.ones(3)}, FACTS)
    map_arrays(other, cache)
    assert len(list(cache.glob("*.lock"))) == 2  # a run beside this one may use the other
    for lock in cache.glob("*.lock"):
        os.utime(lock, (time.time() - 7200,) * 2)
    map_arrays(other, cache)
    (left,) = cache.glob("*.lock")
    assert len(list(left.with_suffix("").iterdir())) == 1


def test_a_file_of_another_length_or_without_its_manifest_is_refused(url, cache, tmp_path):
    with pytest.raises(ArtifactError, match=r"arrays\.json is missing\. Start the run again\."):
        map_arrays(url, cache)
    write_arrays(url, ARRAYS, FACTS)
    if is_local(url):
        folder = Path(url.removeprefix("file://"))
        whole = max(folder.glob("*.npy"), key=lambda path: path.stat().st_size)
        whole.write_bytes(whole.read_bytes()[:-8])
        with pytest.raises(ArtifactError, match=r"is damaged: it has .* bytes, not"):
            map_arrays(url, cache)
        whole.unlink()
        with pytest.raises(ArtifactError, match="is incomplete"):
            map_arrays(url, cache)
    else:
        import s3fs

        store, path = s3fs.S3FileSystem(), url.removeprefix("s3://")
        name = max(store.ls(path, detail=True), key=lambda file: file["size"] * (".npy" in file["name"]))["name"][-20:]
        content = store.cat_file(f"{path}/{name}")
        store.pipe_file(f"{path}/{name}", content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ArtifactError, match="is damaged: its SHA-256 does not match"):
            map_arrays(url, cache)
        assert not list(cache.rglob(name))


def test_a_manifest_that_was_changed_is_refused(tmp_path, cache):
    url = tmp_path.as_uri()
    write_arrays(url, ARRAYS, FACTS)
    manifest = tmp_path / MANIFEST
    manifest.write_text(manifest.read_text().replace("a shop", "b shop"))
    with pytest.raises(ArtifactError, match="its SHA-256 does not match"):
        map_arrays(url, cache)


def test_a_cache_that_cannot_be_written_is_one_clear_line(bucket, tmp_path):
    write_arrays(bucket, ARRAYS, FACTS)
    (tmp_path / "cache").write_text("a file is in its place")
    with pytest.raises(ArtifactError, match=r"May this user write in .*/cache, and is there room"):
        map_arrays(bucket, tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_folder_that_may_not_be_read_is_one_clear_line(tmp_path, cache):
    write_arrays(tmp_path.as_uri(), ARRAYS, FACTS)
    next(tmp_path.glob("*.npy")).chmod(0)
    with pytest.raises(ArtifactError, match="May this user read there"):
        map_arrays(tmp_path.as_uri(), cache)


def _write(url, begun):
    begun.set()
    while True:
        write_arrays(url, {f"{n}": np.full(50_000, float(n)) for n in range(20)}, FACTS)


def _map(url, cache, sums):
    _, mapped = map_arrays(url, cache)
    sums.put(sum(float(array.sum()) for array in mapped.values()))


def test_a_reader_finds_all_arrays_or_none_beside_two_writers_of_whom_one_is_killed(tmp_path, cache):
    url = (tmp_path / "shared").as_uri()
    processes = multiprocessing.get_context("spawn")
    begun = processes.Event()
    writers = [processes.Process(target=_write, args=(url, begun)) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        begun.wait(60)
        deadline = time.monotonic() + 60
        while not are_there(url) and time.monotonic() < deadline:
            time.sleep(0.01)
        for look in range(30):
            _, mapped = map_arrays(url, cache)
            assert {array[0] for array in mapped.values()} == set(map(float, range(20)))
            if look == 10:
                os.kill(writers[0].pid, signal.SIGKILL)
    finally:
        for writer in writers:
            writer.kill()
            writer.join()


def test_processes_of_one_machine_copy_at_the_same_time_and_one_that_was_killed_is_taken_over(bucket, cache):
    write_arrays(bucket, {f"{n}": np.full(50_000, float(n)) for n in range(20)}, FACTS)
    seal = json.loads(_content(bucket, MANIFEST))["manifest_sha256"]
    (cache / seal).mkdir(parents=True)
    (cache / seal / "unfinished.npy.tmp").write_bytes(b"of a process that was killed")
    processes = multiprocessing.get_context("spawn")
    sums = processes.Queue()
    readers = [processes.Process(target=_map, args=(bucket, cache, sums)) for _ in range(2)]
    for reader in readers:
        reader.start()
    assert {sums.get(timeout=120) for _ in readers} == {50_000.0 * sum(range(20))}
    for reader in readers:
        reader.join()


def _content(url, name):
    import s3fs

    return s3fs.S3FileSystem().cat_file(f"{url.removeprefix('s3://')}/{name}")
