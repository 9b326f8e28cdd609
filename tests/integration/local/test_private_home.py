"""Everything under NCF_HOME is its owner's alone, and no folder above it is opened for Postgres' user."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg2
import pytest

from ncf_pipeline.local import postgres
from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.postgres import SUPERUSER, database_url, start_postgres, stop_postgres
from ncf_pipeline.local.private import make_private

PROJECT = Path(__file__).parents[3]
OTHER = 65534  # nobody
LINES = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n" + "".join(
    f"{536365 + number},{71053 + number % 3},LANTERN {number % 3},6,2010-12-0{1 + number % 9} 08:26:00,3.39,"
    f"{17850 + number % 4},France\n"
    for number in range(24)
)


@pytest.fixture
def place():
    """A folder that only its owner may enter, below one that all may enter."""
    folder = Path(tempfile.mkdtemp(prefix="ncf-private-", dir="/var/tmp"))  # pytest's own is closed to others
    folder.chmod(0o755)
    (folder / "person").mkdir(mode=0o700)
    yield folder / "person"
    shutil.rmtree(folder)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def run_as(user, home, *commands):
    """Runs commands as a user whose umask lets everybody read; returns what they wrote to standard error."""
    environment = {"PATH": os.defpath, "PYTHONPATH": str(PROJECT), "HOME": str(home.parent), "NCF_HOME": str(home)}
    environment |= {"NCF_INBOX_SETTLE_SECONDS": "0", "OMP_NUM_THREADS": "1"}
    as_user = {} if user == os.geteuid() else {"user": user, "group": user, "extra_groups": []}
    told = ""
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "ncf_pipeline", *command],
            env=environment, cwd="/", capture_output=True, text=True, timeout=240, check=False, umask=0o022, **as_user,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told += done.stderr
    return told


def open_to_others(home):
    return {str(path) for path in (home, *home.rglob("*")) if not path.is_symlink() and mode(path) & 0o077}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("user", [os.geteuid(), OTHER])
def test_a_home_in_a_closed_folder_works_and_nothing_in_it_or_above_it_is_open(place, user):
    if user != os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    if user != os.geteuid() and not _may_be_reached(PROJECT, Path(sys.executable).resolve()):
        pytest.skip("another user cannot reach this checkout or its Python")
    home = place / ".ncf"
    (home / "inbox").mkdir(parents=True)
    (home / "inbox" / "day.csv").write_text(LINES)
    for path in (place, home, home / "inbox", home / "inbox" / "day.csv"):
        os.chown(path, user, user)
    above = {folder: mode(folder) for folder in home.parents}
    try:
        run_as(user, home, ["up", "--no-airflow"], ["ingest", str(home / "inbox" / "day.csv")], ["refresh"])
        assert open_to_others(home) == set()
    finally:
        run_as(user, home, ["down"])
    assert open_to_others(home) == set()
    assert {folder: mode(folder) for folder in above} == above
    assert (home / "processed" / "day.csv").exists()
    assert list(home.glob("artifacts/publications/*"))
    assert list(home.glob("artifacts/snapshots/*/*"))


def _may_be_reached(*paths):
    return all(mode(step) & stat.S_IXOTH for path in paths for step in path.parents)


@pytest.mark.timeout(300)
def test_a_home_from_before_is_closed_at_its_next_start_and_that_is_said_once(place):
    home = place / ".ncf"
    lists = home / "artifacts" / "publications"
    lists.mkdir(parents=True)
    (lists / "p000001.parquet").write_bytes(b"purchases")
    (lists / "p000001.parquet").chmod(0o644)
    for path in (home / "artifacts", lists):
        path.chmod(0o755)
    home.chmod(0o701)  # as earlier versions left it
    try:
        told = run_as(os.geteuid(), home, ["up", "--no-airflow"], ["up", "--no-airflow"])
    finally:
        run_as(os.geteuid(), home, ["down"])
    assert " ".join(told.split()).count("Other users could look into") == 1
    assert open_to_others(home) == set()


def test_what_a_link_leads_to_and_what_is_above_stays_as_it_is(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    outside.chmod(0o755)
    (outside / "file").write_text("")
    (outside / "file").chmod(0o644)
    tmp_path.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    (home / "folder").symlink_to(outside)
    (home / "file").symlink_to(outside / "file")
    os.mkfifo(home / "pipe", 0o644)
    make_private(home)
    assert (mode(home), mode(home / "pipe") & 0o077) == (0o700, 0)
    assert (mode(outside), mode(outside / "file"), mode(tmp_path)) == (0o755, 0o644, 0o755)


def test_a_new_home_is_closed_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        make_private(tmp_path / "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o700


@pytest.mark.timeout(300)
def test_programs_in_a_closed_folder_are_copied_once_to_where_postgres_user_may_start_them(place, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root changes the user")
    installed = postgres._programs().parent
    closed = place / "venv" / installed.parent.name / installed.name
    shutil.copytree(installed, closed, symlinks=True)
    libraries = installed.parent.with_name(f"{installed.parent.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, place / "venv" / libraries.name, symlinks=True)
    monkeypatch.setattr(postgres, "_programs", lambda: closed / "bin")
    copies = place.parent / "copies"
    monkeypatch.setattr(postgres, "_COPIES", copies)
    for _ in range(2):
        port = free_port()
        started = start_postgres(
            place / "postgres", port=port, password="secret", log=place / "log", parameters={"shared_buffers": "16MB"}
        )
        try:
            psycopg2.connect(database_url(port, role=SUPERUSER, password="secret", database="postgres")).close()
        finally:
            stop_postgres(started)
    assert len(list(copies.iterdir())) == 1
    assert mode(place) == 0o700
