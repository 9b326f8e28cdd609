"""The Dockerfiles and compose files follow linters and the compose specification."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import yaml
from celery import Celery
from compose_spec import PyCompose

from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.redis import start_redis, stop_redis
from ncf_pipeline.serving.dismissals import customers_by_product
from ncf_pipeline.serving.publication.functions import load_into
from ncf_pipeline.serving.publication.store import Store
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront

PROJECT = Path(__file__).parents[2]
DOCKER = PROJECT / "docker"
ONCE = {"init", "owner"}  # they end, so they have no health check
METRICS = {"statsd-exporter", "prometheus", "grafana"}
PARTS = {
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
    "watcher",
    "lists-api",
    "worker",
    "gpu-worker",
    "gpu-worker-nvidia",
}


def services():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("file", ["Dockerfile", "smoke/Dockerfile"])
def test_hadolint_reports_nothing(file):
    hadolint = Path(sys.executable).with_name("hadolint")  # from this environment, which may not be on the path
    linted = subprocess.run([hadolint, "--no-color", DOCKER / file], capture_output=True, text=True)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("file", ["compose.yaml", "smoke/compose.yaml"])
def test_a_compose_file_follows_the_specification(file):
    # Variables and merge keys are resolved first, as compose does.
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DOCKER / file).read_text())
    content = {name: part for name, part in yaml.safe_load(text).items() if not name.startswith("x-")}
    assert set(PyCompose.from_yaml(yaml.safe_dump(content)).service_names()) == set(content["services"])
    content["services"]["minio"]["helthcheck"] = {}
    with pytest.raises(ValueError, match="helthcheck"):
        PyCompose.from_yaml(yaml.safe_dump(content))


def test_compose_can_read_it(monkeypatch, tmp_path):
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True) if shutil.which("docker") else None
    if plugin is not None and plugin.returncode == 0:
        program = ["docker", "compose"]
    elif shutil.which("docker-compose"):
        program = ["docker-compose"]
    else:
        pytest.skip("no compose here")
    monkeypatch.setenv("NCF_SECRETS", str(tmp_path))
    files = ["--file", DOCKER / "compose.yaml", "--file", DOCKER / "smoke" / "compose.yaml"]
    read = subprocess.run([*program, *files, "config", "--quiet"], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr


def test_neither_an_image_nor_a_file_contains_a_secret():
    text = (DOCKER / "compose.yaml").read_text() + (DOCKER / "Dockerfile").read_text()
    assert not re.search(r"(?i)(password|secret|_key)\w*\s*[:=]\s*[\"']?[a-z0-9+/]{12,}[\"']?$", text, re.MULTILINE)
    copied = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    assert not [line for line in copied if "secrets" in line]
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "**"
    assert not [line for line in ignored if line.startswith("!") and "secret" in line]


def test_images_run_as_an_unprivileged_user_and_have_a_health_check():
    text = (DOCKER / "Dockerfile").read_text()
    final = text[text.index("AS airflow") :]
    assert "USER 50000:50000" in final
    assert "HEALTHCHECK" in final
    assert {line.split(" AS ")[1] for line in text.splitlines() if line.startswith("FROM")} >= {"airflow", "gpu-worker"}


def test_every_service_has_a_health_check_and_every_image_a_tag():
    for name, service in services().items():
        image = service["image"]
        assert image.startswith("ncf-") or re.search(r":[\w.-]+\}?$", image), name
        if name not in PARTS | ONCE | METRICS:
            assert service["healthcheck"]["test"], name  # the image has the health check of the parts


@pytest.mark.parametrize("name", services())
def test_a_service_can_do_no_more_than_it_needs(name):
    service = services()[name]
    assert service["read_only"] is True
    assert (service["cap_drop"], service.get("cap_add")) == (["ALL"], None)
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert re.fullmatch(r"\$\{[A-Z_]+_MEMORY:-\d+[mg]\}", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 512
    assert "/tmp" in service["tmpfs"]
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]
    assert {port.split(":")[0] for port in service.get("ports", [])} <= {"127.0.0.1"}


def test_redis_keeps_room_below_its_limit_of_memory():
    limit = re.search(r":-(\d+)g", services()["redis"]["mem_limit"]).group(1)
    used = re.search(r"--maxmemory \$\{REDIS_MAXMEMORY:-(\d+)mb\}", services()["redis"]["command"][2]).group(1)
    assert int(used) <= 0.75 * 1024 * int(limit)


@pytest.fixture
def users(tmp_path):
    """The users of a real Redis that the command of compose.yaml has configured, by a function that connects as one."""
    (tmp_path / "secrets").mkdir()
    for user in ("broker", "lists", "lists_api", "dismisser", "stock"):
        (tmp_path / "secrets" / f"{user}_redis_password").write_text(f"{user}-password\n")
    script = services()["redis"]["command"][2].replace("$$", "$").replace("/run/secrets", str(tmp_path / "secrets"))
    script = script.replace("/tmp/users.acl", str(tmp_path / "users.acl")).partition("exec redis-server")[0]
    subprocess.run(["sh", "-euc", script], check=True)
    assert (tmp_path / "users.acl").stat().st_mode & 0o077 == 0
    assert "password" not in (tmp_path / "users.acl").read_text()
    server = start_redis(tmp_path / "redis", port=free_port(), password="admin", log=tmp_path / "log", durable=False)
    port = next(
        int(line.split()[1])
        for line in (tmp_path / "redis" / "redis.conf").read_text().splitlines()
        if line.startswith("port ")
    )
    try:
        with redis.Redis(port=port, password="admin") as admin:
            for line in (tmp_path / "users.acl").read_text().splitlines():
                if not line.startswith("user default"):
                    admin.execute_command("ACL", "SETUSER", *line.split()[1:])
        yield lambda user, database=0: redis.Redis(port=port, db=database, username=user, password=f"{user}-password")
    finally:
        stop_redis(server)


def test_the_broker_and_the_lists_cannot_reach_each_other(users):
    with users("lists") as lists, users("broker", 1) as broker, users("health") as health:
        assert lists.hset("ncf:7:for_you", "1", "a")
        assert lists.config_get("save")
        assert broker.lpush("default", "task")
        assert broker.lpush("gpu\x06\x163", "task")
        assert health.ping()
        with users("broker") as other_database:
            for client, key in ((other_database, "ncf:live"), (lists, "default"), (health, "ncf:live")):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.get(key)
        for client in (lists, broker):
            for command in (
                "FLUSHALL",
                "FLUSHDB",
                "KEYS *",
                "ACL LIST",
                "SHUTDOWN",
                "CONFIG SET dir /",
                "SAVE",
            ):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command.split())


def test_publishers_load_the_functions_that_read_lists_and_celery_cannot_replace_them(users):
    with users("lists") as lists, users("broker") as broker, users("dismisser") as dismisser:
        assert load_into(Store(lists, "ncf", 60, keys_expire=True, customer_lists=()))
        for command in ("FUNCTION FLUSH", "FUNCTION DELETE ncf", "FUNCTION LOAD REPLACE x", "FUNCTION RESTORE x"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                broker.execute_command(*command.split())
        asked = ("ncf_lists", 1, "ncf:current", "list", "for_you", "customer", "1")
        assert b'"source":"none"' in dismisser.fcall_ro(*asked)


def test_the_api_reads_lists_and_writes_what_is_hidden_or_dismissed_and_nothing_else(users):
    with users("lists") as lists, users("lists_api") as api:
        lists.set("ncf:current", "p000001")
        lists.hset("ncf:p000001:customer:1", "for_you", '["A","B"]')
        lists.hset("ncf:publications", "p000001", "whole")
        at = api.connection_pool.connection_kwargs
        url = f"redis://lists_api:lists_api-password@127.0.0.1:{at['port']}/0"
        with Storefront(url, raise_errors=True) as shop:
            assert shop.dismiss("1", "A")
            assert shop.for_customer("1").stock_codes == ("B",)
            assert shop.undismiss("1", "A")
            assert shop.dismiss("1", "B")
        assert customers_by_product(Settings(redis_url=url)) == {"B": 1}
        assert api.zadd("ncf:hidden:EIRE", {"A": 1}) == 1
        assert api.zrange("ncf:hidden:EIRE", 0, -1, withscores=True) == [(b"A", 1.0)]
        assert api.zrem("ncf:hidden:EIRE", "A") == 1
        api.unlink("ncf:hidden")
        for command in (
            "SET ncf:current p000002",
            "HSET ncf:p000001:customer:1 for_you []",
            "UNLINK ncf:p000001:customer:1",
            "ZADD ncf:other 1 A",
            "SADD ncf:sold_out A",
            "UNLINK ncf:dismissing",
            "GET default",
            "KEYS *",
            "FLUSHDB",
            "CONFIG GET save",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                api.execute_command(*command.split())


def test_the_users_for_programs_of_the_shop_do_their_one_thing_and_nothing_else(users):
    with users("lists") as lists, users("dismisser") as dismisser, users("stock") as stock:
        lists.set("ncf:current", "p000001")
        lists.hset("ncf:p000001:customer:1", "for_you", '["A","B","C"]')
        port = dismisser.connection_pool.connection_kwargs["port"]
        with stock.pipeline() as whole_stock:
            whole_stock.delete("ncf:sold_out").sadd("ncf:sold_out", "C", "D").execute()
        assert stock.srem("ncf:sold_out", "D") == 1
        with Storefront(f"redis://dismisser:dismisser-password@127.0.0.1:{port}/0", raise_errors=True) as shop:
            assert shop.dismiss("1", "A")
            assert shop.for_customer("1").stock_codes == ("B",)
            assert shop.undismiss("1", "A")
        for client, command in (
            (dismisser, "ZADD ncf:hidden 1 A"),
            (dismisser, "SADD ncf:sold_out A"),
            (dismisser, "HSET ncf:p000001:customer:1 for_you []"),
            (stock, "GET ncf:current"),
            (stock, "DEL ncf:hidden"),
            (stock, "ZADD ncf:hidden 1 A"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())


def test_celery_works_as_the_broker_s_user(users):
    with users("broker", 1) as broker:
        at = broker.connection_pool.connection_kwargs
    app = Celery(broker=f"redis://broker:broker-password@127.0.0.1:{at['port']}/1")
    for queue in ("default", "gpu"):
        app.send_task("execute_workload", queue=queue, priority=3, ignore_result=True)
    with app.connection() as connection:
        for queue in ("default", "gpu"):
            with connection.SimpleQueue(queue) as waiting:
                message = waiting.get(timeout=10)
                message.ack()
    assert app.control.ping(timeout=0.5) == []


def test_only_the_gpu_workers_train_and_they_share_no_volume():
    found = services()
    assert {name for name, service in found.items() if service.get("command") == "gpu-worker"} == {
        "gpu-worker",
        "gpu-worker-nvidia",
    }
    theirs = {volume.split(":")[0] for volume in found["gpu-worker"]["volumes"]}
    others = {
        volume.rsplit(":", 1)[0]
        for name, service in found.items()
        if not name.startswith("gpu-worker")
        for volume in service.get("volumes", [])
    }
    assert theirs == {"checkpoints", "gpu-worker-logs"}
    assert not {volume for volume in others if "checkpoints" in volume or "gpu-worker-logs" in volume}
    (device,) = found["gpu-worker-nvidia"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert (found["gpu-worker"]["profiles"], found["gpu-worker-nvidia"]["profiles"]) == (["cpu"], ["nvidia"])


def test_where_ingest_moves_the_files_of_the_inbox_outlives_a_container():
    worker = services()["worker"]
    inbox = Path(worker["environment"]["NCF_INBOX"])
    kept = {volume.rpartition(":")[2] for volume in worker["volumes"]}
    assert {str(inbox), str(inbox.parent / "processed"), str(inbox.parent / "rejected")} <= kept


def test_every_secret_of_the_compose_file_is_generated(tmp_path):
    subprocess.run([sys.executable, DOCKER / "make_secrets.py", tmp_path / "secrets"], check=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(yaml.safe_load((DOCKER / "compose.yaml").read_text())["secrets"]) == set(made)
    assert all(len(text) >= 20 for text in made.values())
    subprocess.run([sys.executable, DOCKER / "make_secrets.py", tmp_path / "secrets"], check=True)
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == made
