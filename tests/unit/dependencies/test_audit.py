"""The audit of the locked packages: what it finds, what is accepted, and what it says if it cannot know."""

import gzip
import json
import re
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest
from audit import affects, problems, renew
from lock import Vulnerability, locked

DEPENDENCIES = Path(__file__).parents[3] / "dependencies"
TODAY = date(2026, 11, 26)
RECORD = """\
id: PYSEC-2026-1
summary: A crafted template runs code. It is bad.
modified: '2026-10-01T00:00:00Z'
aliases: [CVE-2026-1]
affected:
- package: {name: Some_Package, ecosystem: PyPI}
  ranges:
  - type: GIT
    events: [{introduced: '0'}]
  - type: ECOSYSTEM
    events: [{introduced: '2.0'}, {fixed: 2.1.3}]
  versions: ['2.0', 2.1.0]
- package: {name: some-package, ecosystem: npm}
"""


def record(*events, versions=()):
    return {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "summary": "Bad.", "ranges": [list(events)],
            "versions": list(versions), "fixed": [at for kind, at in events if kind == "fixed"]}  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    """A copy of the one advisory."""
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "PYSEC-2026-1.yaml").write_text(RECORD)
    (tmp_path / "records" / "README.md").write_text("no record")
    renew(str(tmp_path / "records"), tmp_path / "copy.gz")
    return tmp_path / "copy.gz"


def read(copy):
    return json.loads(gzip.decompress(copy.read_bytes()))


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.9", False), ("2.0rc1", False), ("2.0", True), ("2.1.2", True), ("2.1.3.dev1", True), ("2.1.3", False),
     ("2.10", False), ("3.0", True), ("3.5", True), ("3.5.1", False)],
)  # fmt: skip
def test_a_version_is_affected_between_introduction_and_fix(version, expected):
    # out of order, as some records are
    found = record(("last_affected", "3.5"), ("introduced", "3.0"), ("introduced", "2.0"), ("fixed", "2.1.3"))
    assert affects(found, version) is expected


def test_a_version_that_is_named_is_affected_without_a_range():
    assert affects(record(versions=["1.0"]), "1.0")
    assert not affects(record(versions=["1.0"]), "1.0.1")
    assert affects(record(("introduced", "0")), "0.0.1")


def test_a_known_vulnerability_says_what_to_do(copy):
    advisories = read(copy)
    assert advisories["date"] == "2026-10-01"
    assert problems({"some-package": "2.1.0"}, advisories["of"], [], TODAY) == [
        "some-package 2.1.0 is vulnerable: PYSEC-2026-1 CVE-2026-1. A crafted template runs code. "
        "Fixed in 2.1.3: raise it, `make lock`."
    ]
    assert problems({"some-package": "2.1.3", "other": "1"}, advisories["of"], [], TODAY) == []


@pytest.mark.parametrize("id_", ["PYSEC-2026-1", "CVE-2026-1"])
def test_an_accepted_one_passes_until_its_end(copy, id_):
    of, versions = read(copy)["of"], {"some-package": "2.1.0"}
    exception = Vulnerability(id_, "some-package", "no templates of others", TODAY)
    assert problems(versions, of, [exception], TODAY) == []
    (ended,) = problems(versions, of, [exception], date(2026, 11, 27))
    assert ended.endswith("It was accepted until 2026-11-26: no templates of others.")


def test_an_exception_that_nothing_needs_is_reported(copy):
    exception = Vulnerability("PYSEC-2026-1", "some-package", "", TODAY)
    (line,) = problems({"some-package": "3.0"}, read(copy)["of"], [exception], TODAY)
    assert line == "some-package PYSEC-2026-1 is accepted, and not found. Remove it from accepted.toml."


def test_a_zip_of_json_as_osv_publishes_it_is_read_too_and_withdrawn_records_are_not(tmp_path):
    found = {"id": "GHSA-1", "modified": "2026-11-01T00:00:00Z", "details": "Long text.\nMore of it.",
             "affected": [{"package": {"name": "A.b", "ecosystem": "PyPI"}, "versions": ["1.0"]}]}  # fmt: skip
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("GHSA-1.json", json.dumps(found))
        archive.writestr("GHSA-2.json", json.dumps({**found, "id": "GHSA-2", "withdrawn": "2026-11-02T00:00:00Z"}))
    renew(str(tmp_path / "all.zip"), tmp_path / "copy.gz")
    assert [each["id"] for each in read(tmp_path / "copy.gz")["of"]["a-b"]] == ["GHSA-1"]


def test_records_of_nothing_leave_the_copy_as_it_was(tmp_path, copy):
    before = copy.read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="holds no OSV records"):
        renew(str(tmp_path / "empty"), copy)
    assert copy.read_bytes() == before


def ran(*arguments):
    return subprocess.run([sys.executable, DEPENDENCIES / "audit.py", *arguments], capture_output=True, text=True)


def test_it_fails_for_a_locked_package_and_says_the_date_of_the_copy(tmp_path):
    package, version = next(iter(locked().items()))
    record = {"id": "PYSEC-1", "modified": "2020-02-03", "affected": [
        {"package": {"name": package, "ecosystem": "PyPI"}, "versions": [version]}]}  # fmt: skip
    (tmp_path / "PYSEC-1.json").write_text(json.dumps(record))
    assert ran("--renew", tmp_path, "--copy", tmp_path / "copy.gz").returncode == 0
    audited = ran("--copy", tmp_path / "copy.gz")
    assert audited.returncode == 1
    assert re.search(r"packages looked up in 1 advisories of 2020-02-03 \(\d+ days old\)", audited.stdout)
    assert "too old" in audited.stdout
    assert f"{package} {version} is vulnerable: PYSEC-1. No fix yet" in " ".join(audited.stdout.split())


@pytest.mark.parametrize("line", ["numpy>=2", "numpy", "numpy==2.*,==2.1"])
def test_a_lock_that_leaves_a_version_open_is_refused(tmp_path, line):
    (tmp_path / "lock").write_text(f"# a comment\nPydantic_Core==2.1 ; python_version > '3'\n    # via x\n{line}\n")
    with pytest.raises(SystemExit, match="names no single version"):
        locked([tmp_path / "lock"])
