"""A real MLflow server, where one is installed: `NCF_TEST_MLFLOW` names its command, else it is looked for in the path.

`pip install mlflow` in an environment of its own brings it; the client, `mlflow-skinny`, has to be where the tests run.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """Its address."""
    command = os.environ.get("NCF_TEST_MLFLOW") or shutil.which("mlflow")
    if command is None or importlib.util.find_spec("mlflow") is None:
        pytest.skip("MLflow is not installed: its server (NCF_TEST_MLFLOW) and its client (mlflow-skinny) are needed")
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    environment = {**os.environ, "PYTHONPATH": "", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [
                *(command, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "a")),
            ],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 240
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).read()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    pytest.fail((folder / "log").read_text()[-2000:])
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
