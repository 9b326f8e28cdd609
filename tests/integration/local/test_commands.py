"""`up`, `down`, `status` and `migrate` as a person or a program runs them."""

import json
import subprocess
import sys

import psycopg2
import pytest
import redis
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.local.passwords import kept_password
from ncf_pipeline.local.services import down
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.migrations import migrations


@pytest.fixture
def home(folder, monkeypatch):
    monkeypatch.setenv("NCF_HOME", str(folder / "home"))
    yield folder / "home"
    down(Settings(home=folder / "home"))


def run(*arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_from_up_to_down(home):
    nothing = json.loads(run("status", "--json"))
    assert (nothing["database_url"], nothing["redis_url"], nothing["airflow_url"]) == (None, None, None)
    assert (nothing["running"], nothing["live_publication"], nothing["pages_url"]) == ({}, None, None)
    assert nothing["inbox"] == str(home / "inbox")

    shown = run("up", "--no-airflow")
    assert "Postgres runs on 127.0.0.1:" in shown
    assert "Redis runs on 127.0.0.1:" in shown
    assert str(home / "inbox") in shown

    state = json.loads(run("status", "--json"))
    psycopg2.connect(state["database_url"]).close()
    with redis.Redis.from_url(state["redis_url"]) as client:
        client.set("ncf:current", "p000042")
    assert json.loads(run("status", "--json"))["live_publication"] == "p000042"
    assert list(state["running"]) == ["postgres", "redis"]
    assert state["list_store_answers"] is True

    assert json.loads(run("migrate", "--json")) == {"applied": []}
    assert run("down").splitlines() == ["Redis stopped", "Postgres stopped"]
    assert run("down").splitlines() == ["Nothing was running."]


def test_a_list_store_that_is_away_is_not_one_without_lists(home, monkeypatch):
    assert "unknown: the list store does not run" in run("status")
    monkeypatch.setenv("NCF_REDIS_URL", "redis://127.0.0.1:1/0")
    assert "unknown: the list store does not answer" in run("status")
    assert json.loads(run("status", "--json"))["list_store_answers"] is False
    monkeypatch.delenv("NCF_REDIS_URL")
    assert "none yet" in run("up", "--no-airflow")


def test_the_demo_needs_airflow(home):
    done = CliRunner().invoke(app, ["up", "--no-airflow", "--demo"])
    assert done.exit_code == 2
    assert not home.exists()


def test_output_for_people_has_no_password(home):
    shown = run("up", "--no-airflow") + run("status")
    assert "postgresql://ncf:***@127.0.0.1:" in shown
    assert "redis://default:***@127.0.0.1:" in shown
    for secret in ("postgres_ncf", "postgres_postgres", "redis"):
        assert kept_password(home, secret) not in shown


def test_migrate_starts_and_stops_the_server_that_it_needs(home):
    assert json.loads(run("migrate", "--json")) == {"applied": [migration.name for migration in migrations()]}
    assert json.loads(run("status", "--json"))["running"] == {}
    assert "newest schema" in run("migrate")


def test_a_failure_is_one_line_and_exit_code_1(home):
    home.write_text("in the way")
    done = subprocess.run(
        [sys.executable, "-c", "from ncf_pipeline.cli import main; main()", "up"], capture_output=True, text=True
    )
    home.unlink()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"Error: {home} cannot be used: File exists. Set NCF_HOME to a folder of yours."
    ]
