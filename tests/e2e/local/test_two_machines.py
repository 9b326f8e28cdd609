"""Machines on CeleryExecutor: one for training, two for scoring, one for everything else, each with its own folders.

They share a database, a broker, Airflow's API and an object store, and no file. One test after the other, on the same
servers, in the order in which they stand.
"""

import json
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import boto3
import psutil
import psycopg2
import pytest
import redis
from moto.server import ThreadedMotoServer

from ncf_pipeline import privacy, synthetic
from ncf_pipeline.local.airflow import COMPONENTS, migrate_metadata, start_component, wait_until_healthy
from ncf_pipeline.local.airflow_api import AirflowApi
from ncf_pipeline.local.airflow_environment import (
    ADMIN,
    admin_password,
    airflow_environment,
    airflow_url,
    inherited_environment,
)
from ncf_pipeline.local.passwords import password
from ncf_pipeline.local.ports import LOOPBACK, free_port
from ncf_pipeline.local.postgres import SUPERUSER, database_url, ensure_database
from ncf_pipeline.local.processes import is_alive, last_words, spawn, stop_together
from ncf_pipeline.local.services import up
from ncf_pipeline.local.state import read_services
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.files import list_files

pytestmark = [pytest.mark.xdist_group("embedded airflow"), pytest.mark.timeout(900)]

PROJECT = Path(__file__).parents[3]
WORKER, GPU_WORKER = "worker.shop.example", "gpu-worker.shop.example"
SCORERS = ("scorer-1.shop.example", "scorer-2.shop.example")
TRAINING = {"backtest", "refit"}
SHARDS = 4


class Cluster:
    """The processes besides Postgres and Redis, and how to start a machine's worker."""

    def __init__(self, settings, environment, folder):
        self.settings = settings
        self.environment = environment
        self.folder = folder
        self.processes = {}
        self.url = environment["AIRFLOW__API__BASE_URL"]

    def start(self, component):
        self.processes[component] = start_component(component, self.environment, logs=self.folder / "logs")

    def start_worker(self, machine, queue):
        """Starts a worker as on a separate machine, with its own home, DAG files, temporary files and name."""
        home = self.folder / machine
        for part in ("airflow", "ncf", "tmp"):
            (home / part).mkdir(parents=True)
        shutil.copytree(PROJECT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
        own = {
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "machine_name.machine_name",
            "MACHINE_NAME": machine,
            "PYTHONPATH": str(Path(__file__).parent),
            "NCF_HOME": str(home / "ncf"),
            "TMPDIR": str(home / "tmp"),
        }
        # As in compose.yaml, a worker cannot reach Airflow's database, and signs nothing.
        others = ("NCF_INBOX", "AIRFLOW__DATABASE__", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET")
        shared = {name: value for name, value in self.environment.items() if not name.startswith(others)}
        inbox = {} if queue != "default" else {"NCF_INBOX": self.environment["NCF_INBOX"]}
        # A slot stays busy for some seconds after its task, so a run needs two for its tasks.
        slots = "2" if queue == "default" else "1"
        options = ["--queues", queue, "--concurrency", slots, "--celery-hostname", f"{queue}@{machine}"]
        options += ["--skip-serve-logs", "--without-mingle", "--without-gossip"]
        self.processes[machine] = spawn(
            f"The worker of {machine}",
            [sys.executable, "-m", "airflow", "celery", "worker", *options],
            log=self.folder / "logs" / f"{machine}.log",
            cwd=home / "airflow",
            env=inherited_environment() | shared | own | inbox,
        )

    def kill_worker(self, machine):
        """Kills a machine's worker with every task that it runs, as if the machine had lost its power."""
        worker = psutil.Process(self.processes.pop(machine).pid)
        for process in [worker, *worker.children(recursive=True)]:
            process.kill()

    def files_of(self, machine):
        home = self.folder / machine
        return [path.relative_to(home) for path in home.rglob("*") if path.is_file()]

    def stop(self):
        stop_together(list(self.processes.values()), patience=10)


@pytest.fixture(scope="module")
def object_store():
    """The environment of an S3 server with a bucket."""
    server = ThreadedMotoServer(LOOPBACK, port=free_port(), verbose=False)
    server.start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{server._port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(
            Bucket="recommender", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield environment
    server.stop()


@pytest.fixture(scope="module")
def cluster(home, object_store):
    """Everything except the workers of the queues `gpu` and `scoring`."""
    settings = up(Settings(home=home, artifacts_url="s3://recommender/shop", inbox_settle_seconds=0), airflow=False)
    at = read_services(home).ports["postgres"]
    server = database_url(at, role=SUPERUSER, password=password(home, "postgres_postgres"), database="postgres")
    ensure_database(server, "airflow", password="metadata")
    ensure_database(server, "celery", password="results")
    metadata_url = database_url(at, role="airflow", password="metadata", database="airflow")
    results_url = database_url(at, role="celery", password="results", database="celery")
    admin_password(home)
    port = free_port()
    environment = airflow_environment(settings, port=port, metadata_url=metadata_url) | {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": settings.list_store().removesuffix("/0") + "/1",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{results_url}",
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "default",
        # A worker that is lost is noticed sooner than after five minutes.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "NCF_SCORING_QUEUE": "scoring",
        "NCF_SCORING_SHARDS": f"{SHARDS}",
    }
    (home / "airflow").mkdir()
    migrate_metadata(environment, metadata_url=metadata_url)
    cluster = Cluster(settings, environment, home.parent)
    since = datetime.now(UTC)
    try:
        for component in COMPONENTS:
            cluster.start(component)
        cluster.start_worker(WORKER, "default")
        servers = {name: cluster.processes[name] for name in COMPONENTS}
        wait_until_healthy(port, servers, since=since)
        with AirflowApi(airflow_url(port), username=ADMIN, password=admin_password(home)) as api:
            api.ensure_pool("gpu", slots=1, description="one at a time")
            cluster.api = api
            yield cluster
    finally:
        cluster.stop()


def wait(cluster, until, patience):
    deadline = time.monotonic() + patience
    while not (result := until()):
        for process in cluster.processes.values():
            assert is_alive(process), last_words(process)
        assert time.monotonic() < deadline, {name: last_words(server) for name, server in cluster.processes.items()}
        time.sleep(1)
    return result


def ended(cluster, dag_id, run_id, patience=600):
    """Waits until a run has succeeded, and returns its tasks."""

    def over():
        state = cluster.api.run_state(dag_id, run_id)
        tasks = cluster.api.tasks(dag_id, run_id)
        failed = [(task.task_id, cluster.api.error_of(task)) for task in tasks if task.state == "failed"]
        assert not failed
        return state == "success" and tasks

    return wait(cluster, over, patience)


def machines(tasks):
    return {task.task_id: task.machine for task in tasks if task.state == "success"}


def test_ingest_runs_on_the_worker_of_the_default_queue(cluster):
    cluster.api.wait_for_dags(("ingest_invoices", "retrain_recommender"))
    inbox = cluster.settings.inbox_path
    inbox.mkdir(parents=True)
    synthetic.write_workbook(inbox / "invoices.xlsx", customers=250, products=200, days=200, seed=1)
    cluster.api.unpause("ingest_invoices")
    tasks = ended(cluster, "ingest_invoices", cluster.api.trigger("ingest_invoices"))
    assert machines(tasks) == dict.fromkeys(("discover", "land", "validate", "quarantine", "merge"), WORKER)


def test_training_waits_for_the_machine_with_the_gpu(cluster):
    cluster.api.unpause("retrain_recommender")
    run_id = cluster.run_id = cluster.api.trigger("retrain_recommender", {"seed": 3})

    def states():
        return {task.task_id: task.state for task in cluster.api.tasks("retrain_recommender", run_id)}

    wait(cluster, lambda: states()["backtest"] == "queued", 60)
    with redis.Redis.from_url(cluster.environment["AIRFLOW__CELERY__BROKER_URL"]) as broker:
        wait(cluster, lambda: broker.llen("gpu") == 1, 20)
        assert broker.llen("default") == 0
    assert states()["backtest"] == "queued"


def test_only_training_ran_on_the_machine_with_the_gpu(cluster):
    for machine, queue in ((GPU_WORKER, "gpu"), *((scorer, "scoring") for scorer in SCORERS)):
        cluster.start_worker(machine, queue)
    tasks = ended(cluster, "retrain_recommender", cluster.run_id)
    ran = machines(tasks)
    assert {task_id for task_id, machine in ran.items() if machine == GPU_WORKER} == TRAINING
    elsewhere = {task_id for task_id, machine in ran.items() if machine == WORKER}
    assert elsewhere >= {"snapshot", "gate", "register", "prepare", "publish"}
    assert {task_id for task_id, machine in ran.items() if machine in SCORERS} == {"score"}


def test_the_lists_are_in_redis_and_the_files_in_the_object_store(cluster):
    settings = cluster.settings
    champion = registry.champion(settings)
    assert champion.url == "s3://recommender/shop/models/v000001"
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
        live = store.get("ncf:current")
        customers = list(store.scan_iter(f"ncf:{live}:customer:*"))
        assert len(customers) > 100
        assert len(json.loads(store.hget(customers[0], "for_you"))) == 20
    (kept,) = [entry.url for entry in registry.publications(settings)]
    assert kept.startswith("s3://recommender/shop/publications/")


def test_the_machine_with_the_gpu_stores_nothing_that_others_need(cluster):
    """Except its logs, which the UI reads from the object store or its log server."""
    left = [path for path in cluster.files_of(GPU_WORKER) if path.parts[0] in ("ncf", "tmp")]
    assert left == []
    logs = {path.parts for path in cluster.files_of(GPU_WORKER) if path.suffix == ".log"}
    tasks = {part.removeprefix("task_id=") for parts in logs for part in parts if part.startswith("task_id=")}
    assert tasks == TRAINING
    with psycopg2.connect(cluster.settings.database()) as connection, connection.cursor() as cursor:
        cursor.execute("select url from ml.snapshot union all select url from ml.model_version")
        assert all(url.startswith("s3://recommender/shop/") for (url,) in cursor.fetchall())


def lists(settings):
    """Every list in Redis of the live publication, by key."""
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as store:
        prefix = f"{settings.key_prefix}:{store.get(f'{settings.key_prefix}:current')}:"
        keys = list(store.scan_iter(f"{prefix}*", count=1000))
        kept = [key for key in keys if key.removeprefix(prefix).startswith(("customer:", "product:", "fallback:"))]
        return {key.removeprefix(prefix): store.hgetall(key) for key in kept}


@pytest.fixture(scope="module")
def of_one_process(cluster):
    """The lists that a refresh in this process publishes."""
    refresh(cluster.settings.model_copy(update={"scoring_shards": 1}))
    return lists(cluster.settings)


def test_two_machines_score_the_lists_of_one_process_to_the_last_byte(cluster, of_one_process):
    cluster.api.unpause("refresh_lists")
    before = registry.publications(cluster.settings)[0].number
    tasks = ended(cluster, "refresh_lists", cluster.api.trigger("refresh_lists"))
    scored = [task for task in tasks if task.task_id == "score"]
    assert sorted(task.map_index for task in scored) == list(range(SHARDS))
    assert {task.machine for task in scored} == set(SCORERS)
    assert registry.publications(cluster.settings)[0].number > before
    assert lists(cluster.settings) == of_one_process
    assert len(of_one_process) > 300


def test_a_machine_that_dies_while_it_scores_costs_its_shard_and_no_list(cluster, of_one_process):
    run_id = cluster.api.trigger("refresh_lists")

    def states(task_id):
        return [task for task in cluster.api.tasks("refresh_lists", run_id) if task.task_id == task_id]

    wait(cluster, lambda: states("prepare")[0].state == "success", 120)
    with privacy.alone(cluster.settings):  # which shards wait for, as long as they are needed here
        wait(
            cluster, lambda: {task.machine for task in states("score") if task.state == "running"} == set(SCORERS), 120
        )
        (lost,) = [task for task in states("score") if task.state == "running" and task.machine == SCORERS[0]]
        cluster.kill_worker(SCORERS[0])
    tasks = ended(cluster, "refresh_lists", run_id)
    tries = {task.map_index: task.try_number for task in tasks if task.task_id == "score"}
    assert tries == {**dict.fromkeys(range(SHARDS), 1), lost.map_index: 2}
    assert {task.task_id: task.try_number for task in tasks if task.task_id != "score"} == {"prepare": 1, "publish": 1}
    assert lists(cluster.settings) == of_one_process


def test_a_scorer_keeps_nothing_but_copies_and_no_part_is_left(cluster):
    kept = [path for scorer in SCORERS for path in cluster.files_of(scorer) if path.parts[0] in ("ncf", "tmp")]
    assert {path.parts[:2] for path in kept} == {("ncf", "cache")}
    assert {path.suffix for path in kept} == {".npy", ".lock"}  # of what all customers share
    assert list_files(f"{cluster.settings.artifacts}/drafts") == {}
