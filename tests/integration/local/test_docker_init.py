"""`init` of docker/entrypoint.py prepares an empty server: databases, schema, roles, and a login for each part."""

import importlib.util
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.postgres import SUPERUSER, database_url, start_postgres, stop_postgres

ENTRYPOINT = Path(__file__).parents[3] / "docker" / "entrypoint.py"
spec = importlib.util.spec_from_file_location("entrypoint", ENTRYPOINT)
entrypoint = importlib.util.module_from_spec(spec)
spec.loader.exec_module(entrypoint)


@pytest.fixture
def prepared(folder):
    """The port of a server that was prepared twice, and what the second time printed."""
    airflow = folder / "bin" / "airflow"
    airflow.parent.mkdir()
    airflow.write_text("#!/bin/sh\n")
    airflow.chmod(0o755)
    port = free_port()
    server = start_postgres(folder / "postgres", port=port, password="postgres_db_password", log=folder / "log")
    try:
        environment = os.environ | {
            "PATH": f"{airflow.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ENTRYPOINT.parents[1]),
            "POSTGRES_ADDRESS": f"127.0.0.1:{port}",
            "REDIS_ADDRESS": "127.0.0.1:1",
            "NCF_ARTIFACTS_URL": (folder / "artifacts").as_uri(),
            **{name.upper(): name for name in entrypoint.NEEDS["init"]},
        }
        for _ in range(2):
            done = subprocess.run([sys.executable, ENTRYPOINT, "init"], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        yield port, done.stdout
    finally:
        stop_postgres(server)


def test_each_part_may_do_its_work_and_no_more(prepared, folder):
    port, output = prepared

    def ask(login, question, database="ncf"):
        url = database_url(port, role=login, password=f"{login}_db_password", database=database)
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchall()

    assert output.startswith("Migrations applied: none\nLogins: shop_worker, gpu_worker, watcher, pages, lists_api\n")
    assert (folder / "artifacts").is_dir()
    for login, roles in entrypoint.LOGINS.items():
        members = "select roleid::regrole::text from pg_auth_members where member = current_user::regrole order by 1"
        assert ask(login, members) == [(role,) for role in sorted(roles)]
    assert ask("shop_worker", "select count(*) from raw.batch") == [(0,)]
    assert ask("pages", "select count(*) from ml.model_version") == [(0,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask("gpu_worker", "select * from raw.landed_line")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask("watcher", "delete from retail.invoice")
    # No worker reads Airflow's database; the results of Celery are in one of their own.
    for login in (*entrypoint.LOGINS, "celery", "ncf"):
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            ask(login, "select 1", database="airflow")
    assert ask("celery", "select 1", database="celery") == [(1,)]
    superusers = database_url(port, role=SUPERUSER, password="postgres_db_password", database="ncf")
    with closing(psycopg2.connect(superusers)) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_tables where schemaname in ('raw', 'ml') and tableowner <> 'ncf'")
        assert cursor.fetchall() == [(0,)]
