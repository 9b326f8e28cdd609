"""Builds the images, starts the stack, and runs the main job on a small synthetic shop: `make docker-smoke`.

Needs a Docker engine. A small S3 server replaces MinIO, so the only external images are Debian's Python, PostgreSQL and
Redis, which `base-images.sh` can build too. With `--no-build`, existing images are used.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from ncf_pipeline import synthetic
from ncf_pipeline.local.airflow_api import AirflowApi
from ncf_pipeline.local.ports import free_port

DOCKER = Path(__file__).parents[1]
PROJECT = "ncf-smoke"
IMAGES = ("ncf-airflow", "ncf-gpu-worker")
PARTS = (
    "postgres",
    "redis",
    "minio",
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
    "watcher",
    "worker",
    "gpu-worker",
)
ENTRYPOINT = ("python", "/opt/stack/entrypoint.py")
TRAINING = {"backtest", "refit"}
PATIENCE = 900  # seconds, for each wait


def compose(*arguments: str, output: bool = False) -> str:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    program = ["docker", "compose"] if plugin else ["docker-compose"]
    files = ["--file", str(DOCKER / "compose.yaml"), "--file", str(DOCKER / "smoke" / "compose.yaml")]
    command = [*program, "--project-name", PROJECT, *files, *arguments]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE if output else sys.stderr)
    return done.stdout or ""


@contextmanager
def measured(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{what:<44}{time.monotonic() - started:7.0f} s", flush=True)


def wait_until(done: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            compose("logs", "--tail", "40")
            sys.exit(f"{what()} after {PATIENCE} s")
        time.sleep(2)


def inspect(part: str, what: str) -> str:
    container = compose("ps", "--quiet", part, output=True).strip()
    command = ["docker", "inspect", "--format", what, container]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def unhealthy() -> list[str]:
    return [part for part in PARTS if inspect(part, "{{.State.Health.Status}}") != "healthy"]


def run(api: AirflowApi, dag_id: str, conf: dict[str, int]) -> dict[str, str | None]:
    """Starts a manual run and waits for its end; returns the machine of each task that succeeded."""
    api.unpause(dag_id)
    run_id = api.trigger(dag_id, conf)
    wait_until(lambda: api.run_state(dag_id, run_id) in ("success", "failed"), lambda: f"{dag_id} still runs")
    tasks = api.tasks(dag_id, run_id)
    failed = [f"{task.task_id}: {api.error_of(task)}" for task in tasks if task.state == "failed"]
    if failed or api.run_state(dag_id, run_id) != "success":
        sys.exit(f"{dag_id} failed: {failed}")
    return {task.task_id: task.machine for task in tasks if task.state == "success"}


def check_confinement() -> None:
    """Looks from inside at each part: it can write to no image, has no privileges, and sees its own secrets alone."""
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    look = "touch /usr/x 2>&1; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/1/status; ls /run/secrets"
    for part in PARTS:
        seen = compose("exec", "-T", part, "sh", "-c", look, output=True).splitlines()
        assert "Read-only file system" in seen[0], (part, seen)
        assert [line.split()[1] for line in seen[1:4]] == ["0" * 16, "0" * 16, "1"], (part, seen)
        assert sorted(seen[4:]) == sorted(services[part]["secrets"]), (part, seen)
        memory, processes = map(int, inspect(part, "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}").split())
        assert memory > 0, part
        assert 0 < processes <= 512, (part, processes)
    # Whoever takes over the worker that trains can neither choose what serves nor read Airflow's passwords.
    ask = (
        "import os, psycopg2\n"
        "cursor = psycopg2.connect(os.environ['NCF_DATABASE_URL']).cursor()\n"
        "try:\n"
        "    cursor.execute('update ml.publication set state = state')\n"
        "except psycopg2.errors.InsufficientPrivilege as error:\n"
        "    print(str(error).strip())\n"
    )
    refused = compose("exec", "-T", "gpu-worker", *ENTRYPOINT, "python", "-c", ask, output=True)
    assert refused.strip() == "permission denied for table publication", refused
    print(f"confined: {len(PARTS)} parts", flush=True)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ncf-smoke-"))
    inbox, processed = folder / "inbox", folder / "processed"
    inbox.mkdir()
    processed.mkdir()
    port = free_port()
    os.environ |= {
        "NCF_SECRETS": str(folder / "secrets"),
        "NCF_INBOX_FOLDER": str(inbox),
        "NCF_PROCESSED_FOLDER": str(processed),
        "AIRFLOW_PORT": str(port),
        "COMPOSE_PROFILES": "cpu",
    }
    subprocess.run([sys.executable, DOCKER / "make_secrets.py", folder / "secrets"], check=True)
    shop = synthetic.write_workbook(inbox / "invoices.xlsx", customers=250, products=200, days=200, seed=1)
    customer = str(int(shop["CustomerID"].mode()[0]))
    for path in (inbox, processed, *inbox.iterdir()):
        path.chmod(0o777)  # the worker's user moves the files
    try:
        if "--no-build" not in sys.argv:
            with measured("build of airflow, gpu-worker and the S3 server"):
                compose("build", "api-server", "gpu-worker", "minio")
        for image in IMAGES:
            size = subprocess.run(
                ["docker", "image", "inspect", "--format", "{{.Size}}", image],
                capture_output=True,
                text=True,
                check=True,
            )
            print(f"image {image:<38}{int(size.stdout) / 1e6:7.0f} MB", flush=True)
        with measured("up, until all parts are healthy"):
            compose("up", "--detach")
            wait_until(lambda: not unhealthy(), lambda: f"not healthy: {unhealthy()}")
        check_confinement()
        password = (folder / "secrets" / "airflow_admin_password").read_text()
        with AirflowApi(f"http://127.0.0.1:{port}", username="admin", password=password) as api:
            api.wait_for_dags(("ingest_invoices", "retrain_recommender"))
            with measured("ingest_invoices"):
                ingested = run(api, "ingest_invoices", {})
            with measured("retrain_recommender"):
                retrained = run(api, "retrain_recommender", {"seed": 3})
        print(f"machines: {json.dumps({**ingested, **retrained})}")
        assert [file.name for file in processed.iterdir()] == ["invoices.xlsx"]
        # Each of its looks goes to the end: it may read what it needs.
        watched = compose("logs", "watcher", output=True)
        assert "failed" not in watched, watched[-2000:]
        assert {task for task, machine in retrained.items() if machine == "gpu-worker"} == TRAINING
        assert {*ingested.values(), *retrained.values()} == {"worker", "gpu-worker"}
        recommend = ["ncf-pipeline", "recommend", customer, "--json"]
        lists = json.loads(compose("exec", "-T", "api-server", *ENTRYPOINT, *recommend, output=True))
        print(f"customer {customer}: {json.dumps(lists)[:300]}")
        assert len(json.dumps(lists)) > 100
    finally:
        with measured("down"):
            compose("down", "--volumes", "--timeout", "20")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
