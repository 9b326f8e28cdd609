"""MLflow shows the registry's versions, whatever fails meanwhile: on a real server, where one is installed."""

import importlib.util
import json
import logging
import socket
import sys
import threading
import uuid
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow_server import mlflow_server  # noqa: F401
from typer.testing import CliRunner
from weekly_versions import TODAY, WEEK

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError, SettingsError, TrackingError
from ncf_pipeline.evaluation.scores import EVERYONE, KNOWN, Scores
from ncf_pipeline.evaluation.summary import evaluation_tables
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.serving import mlflow_runs
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction

CANDIDATE = Scores("candidate", "for_you", EVERYONE, 5, 30, 0.35, 0.33, 0.37, None, None, None, 0.12, 0.36, 0.2, 1, 0.1,
                   0.2, 0.15, 7.5)  # fmt: skip
BASELINE = replace(CANDIDATE, recommender="personal_frequency", precision_at_k=0.3, ahead=0.05, novelty=None)
SCORES = [
    CANDIDATE,
    BASELINE,
    *(replace(each, cohort=KNOWN, precision_at_k=each.precision_at_k + 0.04) for each in (CANDIDATE, BASELINE)),
    replace(CANDIDATE, cohort="5+ invoices", precision_at_k=0.5),
]

needs_client = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="MLflow's client, mlflow-skinny, is not installed"
)


@pytest.fixture
def told(shop, mlflow_server, monkeypatch):  # noqa: F811
    """The shop's settings, with an MLflow that knows nothing of it. It may take its time."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    monkeypatch.setattr(mlflow_runs, "TELL_SECONDS", 600.0)
    return at(shop, mlflow_server)


def at(settings, address):
    return Settings(**{**dict(settings), "mlflow_tracking_uri": address, "mlflow_name": f"shop-{uuid.uuid4().hex[:8]}"})


def client_of(settings):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=settings.mlflow_tracking_uri.get_secret_value())


def runs(settings):
    """The runs in MLflow, by name."""
    client = client_of(settings)
    experiment = client.get_experiment_by_name(settings.mlflow_name)
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def alias(settings):
    """The version that MLflow's alias names."""
    (model,) = client_of(settings).search_registered_models(f"name = '{settings.mlflow_name}'")
    number = model.aliases.get("champion")
    return number and client_of(settings).get_model_version(settings.mlflow_name, number).tags["ncf.version"]


def publish(settings, version):
    registry.promote(settings, version, actor="test", reason="test")
    refresh(settings)


def test_names_are_those_of_the_card_without_at_signs():
    (table, *_) = evaluation_tables(SCORES)
    in_words = {heading.replace("@", "_at_").replace(" ", "_") for heading in table.headings}
    figures = mlflow_runs._figures(SCORES)
    names = {name.split("/")[2] for name in figures if name.startswith("for_you/candidate/")}
    assert names - {"P_at_5_low", "P_at_5_high"} == in_words - {"95%_interval", "candidate_ahead_by"}
    assert figures["for_you/candidate/P_at_5"] == 0.35
    assert figures["for_you/candidate/P_at_5_known"] == pytest.approx(0.39)
    assert figures["for_you/personal_frequency/P_at_5"] == 0.3
    assert "for_you/personal_frequency/novelty" not in figures


def test_a_publication_shows_the_version_with_its_recipe_figures_and_card(told, candidate):
    version = candidate("a", recipe={"seed": 3, "hidden": [8, 4], "dropout": 0.5}, k=5)
    registry.record_evaluation(told, version, SCORES)
    assert runs(told) == {}
    publish(told, version)
    (run,) = runs(told).values()
    assert (run.info.run_name, run.info.status) == ("v1", "FINISHED")
    assert run.data.params["recipe.seed"] == "3"
    assert run.data.params["recipe.hidden"] == "[8, 4]"
    assert (run.data.params["k"], run.data.params["snapshot_id"]) == ("5", "s000001")
    assert run.data.metrics == pytest.approx(mlflow_runs._figures(SCORES))
    (entry,) = [each for each in registry.model_versions(told) if each.version == version]
    assert run.data.tags["ncf.url"] == entry.url
    assert (run.data.tags["ncf.state"], run.data.tags["ncf.gate"]) == ("champion", "let through")
    client = client_of(told)
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["model_card.md"]
    (registered,) = client.search_model_versions(f"name = '{told.mlflow_name}'")
    assert (registered.run_id, registered.tags["ncf.url"]) == (run.info.run_id, entry.url)
    assert alias(told) == "1"


def test_the_alias_follows_promotions_and_rollbacks(told, candidate):
    refresh(told)  # version 0
    assert runs(told) == {}
    first = candidate("a", TODAY - WEEK)
    publish(told, first)
    assert (alias(told), set(runs(told))) == ("1", {"v1"})
    second = candidate("b")
    mlflow_runs.tell(told)
    assert (alias(told), set(runs(told))) == ("1", {"v1", "v2"})
    publish(told, second)
    assert alias(told) == "2"
    assert runs(told)["v1"].data.tags["ncf.state"] == "retired"
    rollback(told, first, actor="test")
    assert alias(told) == "1"
    assert runs(told)["v2"].data.tags["ncf.withdrawn_at"] != ""
    rollback(told, 0, actor="test")
    assert alias(told) is None
    rollback(told, second, actor="test")
    assert alias(told) == "2"
    assert len(client_of(told).search_model_versions(f"name = '{told.mlflow_name}'")) == 2


def test_run_again_it_changes_nothing(told, candidate):
    publish(told, candidate("a"))
    assert mlflow_runs.sync(told) == mlflow_runs.Synced(versions=1, written=0, champion=1)


def test_a_version_that_was_held_has_a_run_and_is_not_registered(told, candidate):
    publish(told, candidate("a"))
    held = candidate("b")
    registry.hold(told, held, ["It is worse."])
    with transaction(told) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.model_version set url = null where version = %s", (held,))
    assert mlflow_runs.sync(told).written == 1
    tags = runs(told)["v2"].data.tags
    assert (tags["ncf.state"], tags["ncf.gate"]) == ("held", "held")
    assert tags["mlflow.note.content"] == "v2, held: `ncf-pipeline models show 2` says why."
    assert len(client_of(told).search_model_versions(f"name = '{told.mlflow_name}'")) == 1
    assert alias(told) == "1"


class Killed(BaseException):
    """As if the process had ended there."""


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
def test_killed_at_any_call_and_run_again_there_is_one_run_of_each_version(told, candidate, monkeypatch, answered):
    import mlflow

    for number in range(2):
        version = candidate(f"{number}", TODAY - (1 - number) * WEEK)
        registry.record_evaluation(told, version, SCORES)
        registry.promote(told, version, actor="test", reason="test")
    allowed, left = 0, [0]

    def killing(call):
        def called(*arguments, **more):
            if left[0] == 0:
                if answered:
                    call(*arguments, **more)
                raise Killed
            left[0] -= 1
            return call(*arguments, **more)

        return called

    class Client(mlflow.MlflowClient):
        def __getattribute__(self, name):
            found = super().__getattribute__(name)
            outer = name in CALLS
            return killing(found) if outer else found

    monkeypatch.setattr(mlflow, "MlflowClient", Client)
    kills = 0
    while True:
        left[0] = allowed
        try:
            synced = mlflow_runs.sync(told)
            break
        except Killed:
            kills, allowed = kills + 1, (allowed + 1 if kills % 2 else allowed)  # each call is killed twice
    monkeypatch.undo()
    assert kills > 15
    assert (synced.versions, synced.champion) == (2, 2)
    assert set(runs(told)) == {"v1", "v2"}
    assert all(run.data.metrics == pytest.approx(mlflow_runs._figures(SCORES)) for run in runs(told).values())
    assert len(client_of(told).search_model_versions(f"name = '{told.mlflow_name}'")) == 2
    assert alias(told) == "2"


CALLS = {
    "get_experiment_by_name", "create_experiment", "search_runs", "create_run", "log_batch", "log_text",
    "set_terminated", "search_registered_models", "create_registered_model", "search_model_versions",
    "create_model_version", "set_tag", "set_registered_model_alias",
}  # fmt: skip


def test_another_installations_versions_are_not_touched(told, candidate):
    publish(told, candidate("a"))
    with transaction(told) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.model_version set created_at = created_at - interval '1 second' where version = 1")
    with pytest.raises(InputError, match=r"v1 of the MLflow experiment .* is that of another installation"):
        mlflow_runs.sync(told)


def test_a_deleted_experiment_is_said_in_one_line(told, candidate):
    publish(told, candidate("a"))
    client = client_of(told)
    client.delete_experiment(client.get_experiment_by_name(told.mlflow_name).experiment_id)
    with pytest.raises(InputError, match=r"was deleted there. Restore it, or set NCF_MLFLOW_NAME"):
        mlflow_runs.sync(told)


def test_who_may_only_publish_may_sync(told, candidate, granted, member):
    publish(told, candidate("a"))
    worker = at(member("publishing"), told.mlflow_tracking_uri.get_secret_value())
    assert mlflow_runs.sync(worker) == mlflow_runs.Synced(versions=1, written=1, champion=1)


def test_the_command(told, candidate, monkeypatch):
    publish(told, candidate("a"))
    for name in ("home", "artifacts_url", "key_prefix", "mlflow_name"):
        monkeypatch.setenv(f"NCF_{name.upper()}", str(getattr(told, name)))
    monkeypatch.setenv("NCF_DATABASE_URL", told.database())
    monkeypatch.setenv("NCF_REDIS_URL", told.list_store())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", told.mlflow_tracking_uri.get_secret_value())
    told.home.chmod(0o700)
    shown = CliRunner().invoke(app, ["mlflow", "sync"], catch_exceptions=False).stdout
    assert shown == "MLflow has 1 versions, 0 written now; v1 is the champion.\n"
    answer = CliRunner().invoke(app, ["mlflow", "sync", "--json"], catch_exceptions=False).stdout
    assert json.loads(answer) == {"versions": 1, "written": 0, "champion": 1}


@pytest.fixture
def refusing():
    """A server that is no MLflow."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(b"<html>Log in</html>")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status = 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def warned(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING and "MLflow" in record.message]


@needs_client
@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_server_that_refuses_stops_nothing_and_is_one_warning(shop, refusing, caplog, status):
    refusing.status = status
    settings = at(shop, f"http://someone:secret-word@127.0.0.1:{refusing.server_port}")
    refresh(settings)
    (warning,) = warned(caplog)
    assert "the next publication, rollback or watch tells it" in warning.message
    assert "secret-word" not in caplog.text
    with pytest.raises(TrackingError, match="MLflow did not take everything"):
        mlflow_runs.sync(settings)


@needs_client
def test_a_server_that_is_away_or_silent_stops_nothing(shop, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    refresh(at(shop, "http://127.0.0.1:1"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refresh(at(shop, f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert len(warned(caplog)) == 2


def test_what_could_not_be_told_is_told_by_the_next_publication(told, candidate, caplog):
    publish(at(told, "http://127.0.0.1:1"), candidate("a"))
    assert len(warned(caplog)) == 1
    assert runs(told) == {}
    refresh(told)
    assert (set(runs(told)), alias(told)) == ({"v1"}, "1")


def test_while_another_process_tells_it_nobody_waits(shop, caplog):
    settings = at(shop, "http://127.0.0.1:1")
    with mlflow_runs._LOCK.held(shop):
        mlflow_runs.tell(settings)
    assert warned(caplog) == []


def test_without_the_client_one_line_says_what_to_install(shop, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    settings = at(shop, "http://127.0.0.1:1")
    with pytest.raises(SettingsError, match=r"mlflow is not installed. Run `pip install .*the extra mlflow brings it"):
        mlflow_runs.sync(settings)
    mlflow_runs.tell(settings)
    (warning,) = warned(caplog)
    assert "the extra mlflow brings it" in warning.message


def test_without_an_address_nothing_is_told(shop, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    settings = Settings(**{**dict(shop), "mlflow_tracking_uri": None})
    mlflow_runs.tell(settings)
    assert warned(caplog) == []
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI is not set"):
        mlflow_runs.sync(settings)


@pytest.fixture
def candidate(shop, admitted, untrained):
    """Makes a version as it is before `register`, with this config."""

    def make(run_key, cutoff=TODAY, **config):
        return admitted(take_snapshot(shop, cutoff), run_key, untrained, reasons=("because",), **config)

    return make
