"""Erases a customer from a real database, artifact store and Redis, after ingest, training and refresh."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest
import redis

from ncf_pipeline import privacy
from ncf_pipeline.erasure import files
from ncf_pipeline.erasure import forget as stage
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import ErasureError, InputError, SettingsError, StoreUnavailableError
from ncf_pipeline.ingest import requests
from ncf_pipeline.ingest.corrections import discard_lines
from ncf_pipeline.ingest.mappings import store as mappings
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.model.training import train
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import prune_snapshots, read_snapshot, take_snapshot
from ncf_pipeline.serving.publication.erasing import keys_of_customer
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront
from ncf_pipeline.training import retrain

WHO, OTHER = "14646", "14000"
CUTOFF = datetime(2011, 6, 1)
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
BROKEN = [
    f"700001,22001,A GOOD THING,0,2011-05-20 10:00:00,1.5,{WHO},Iceland",
    f"700002,22001,A GOOD THING,six,2011-05-20 10:00:00,1.5,{WHO}.0,Iceland",
    f"700003,22001,A GOOD THING,6,2011-05-20 10:00:00,1.5,{WHO},Iceland,and,two,more",
]


def shop_lines():
    """40 customers of four tastes, one customer who alone lives in Iceland, and some guests."""
    random = np.random.default_rng(0)
    lines, invoice = [], 600_000
    for number, customer in enumerate([*map(str, range(14000, 14040)), WHO, ""]):
        for day in range(2, 140, 12):
            invoice += 1
            at = CUTOFF - timedelta(days=day + number % 7, hours=-9)
            country = "Iceland" if customer == WHO else "France"
            chosen = sorted({*random.choice(10, 4), *random.choice(10, 2)})
            lines += [
                f"{invoice},{22000 + 100 * (number % 4) + product},A GOOD THING,2,{at:%Y-%m-%d %H:%M:%S},1.5,"
                f"{customer},{country}"
                for product in chosen
            ]
    return lines


@pytest.fixture
def settings(settings, request):
    """The test's settings; with artifacts in an object store if the test asks for one."""
    stores = {"an object store": "bucket", "an object store with versions": "versioned"}
    if (store := stores.get(getattr(request, "param", "a folder"))) is not None:
        return settings.model_copy(update={"artifacts_url": request.getfixturevalue(store)})
    return settings


@pytest.fixture
def shop(settings, tmp_path, promoted):
    """A shop with a champion, two publications and broken lines in quarantine; returns the file it came from."""
    file = tmp_path / f"export of {WHO}.csv"
    file.write_text("\n".join([HEADER, *shop_lines(), *BROKEN]) + "\n")
    ingest(settings, [str(file)])
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select quarantine_id from raw.quarantined_line order by quarantine_id limit 1")
        discard_lines(settings, [cursor.fetchone()[0]], note=f"customer {WHO} rang up")
        cursor.execute("select max(quarantine_id) from raw.quarantined_line where state = 'waiting'")
        (waiting,) = cursor.fetchone()
    changes = {"customer_id": str(WHO)}
    requests.drop(settings, requests.ask(settings, [waiting], actor="anna", reason=f"of {WHO}", changes=changes))
    requests.ask(settings, [waiting], actor="anna", reason=None, workbook=f"customer {WHO}".encode())
    promoted(take_snapshot(settings, CUTOFF), "champion", trained)
    refresh(settings)
    refresh(settings)
    return file


_TRAINED = {}  # by the snapshot's hash: every test here has the same purchases


def trained(snapshot, _):
    if snapshot.sha256 not in _TRAINED:
        recipe = Recipe(embedding_dim=8, hidden=(16, 8), popular_candidates=15, taste_candidates=5)
        _TRAINED[snapshot.sha256] = train(snapshot.interactions, CUTOFF, recipe, device="cpu", epochs=2).state()
    return TrainedModel.from_state(_TRAINED[snapshot.sha256])


def dump(settings):
    """The whole database as text, as any client sees it: rows of every table, and the planner's statistics."""
    rows = []
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema in ('raw', 'retail', 'ml', 'ops', 'public')"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select t::text from {table} as t")
            rows += [f"{table} {row}" for (row,) in cursor.fetchall()]
        cursor.execute("select tablename, most_common_vals::text, histogram_bounds::text from pg_stats")
        rows += [f"statistics {row}" for row in cursor.fetchall() if row[0] == "invoice_line"]
    return rows


def decoded(settings):
    """Every file of the artifact store as text; Parquet decoded."""
    filesystem, root = fsspec.core.url_to_fs(settings.artifacts)
    filesystem.invalidate_cache()
    for path in filesystem.find(root):
        content = filesystem.cat_file(path)
        if path.endswith(".parquet"):
            yield path, str(pl.read_parquet(content).to_dicts())
        else:
            yield path, content.decode(errors="replace")


def everything(settings):
    """Every place that contains the id, by a search that shares no code with the one under test."""
    number = re.compile(rf"(?<![0-9]){WHO}(?![0-9])")
    found = [f"database: {row}" for row in dump(settings) if number.search(row)]
    found += [f"artifacts: {path}" for path, text in decoded(settings) if number.search(text)]
    with redis.Redis.from_url(settings.list_store()) as client:
        found += [f"redis: {key}" for key in client.scan_iter("*") if number.search(key.decode(errors="replace"))]
    return found + [f"redis: {key}" for key in keys_of_customer(settings, WHO)]


def lines_of(settings, where="true"):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"select count(*), sum(quantity * unit_price), count(distinct stock_code) from retail.invoice_line "
            f"where {where}"
        )
        return cursor.fetchone()


def lists_of(settings, customer):
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as client:
        return client.lists_of_customer(customer, country="France")


@pytest.mark.parametrize("settings", ["a folder", "an object store"], indirect=True)
def test_nothing_names_an_erased_customer_and_everything_else_is_unchanged(settings, shop, caplog):
    caplog.set_level("INFO")
    assert len(everything(settings)) > 20
    sold, served = lines_of(settings), lists_of(settings, OTHER)
    settings.checkpoints_path.mkdir(parents=True)
    (settings.checkpoints_path / "abc.safetensors").write_bytes(b"rows of customers")

    done = forget(settings, WHO, requested_by="test")

    assert everything(settings) == []
    assert not any(done.left.values())
    assert len(done.left) > 20
    assert done.places["retail.invoice_line.customer_id"] > 40
    assert done.places["raw.quarantined_line.original"] == 3
    assert done.places["raw.quarantined_line.note"] == 1
    assert done.places["raw.quarantine_request.changes"] == 1
    assert done.places["raw.quarantine_request.reason"] == 2
    assert done.places["artifacts: models"] == done.places["artifacts: backtests"] == 1
    assert done.places["artifacts: publications"] == 2
    assert done.places["artifacts: snapshots"] >= 1
    assert done.places["Redis: keys"] == 4  # the customer's hash and the index, in each of two publications
    assert not list(settings.checkpoints_path.iterdir())
    assert str(WHO) not in caplog.text
    assert str(WHO) not in json.dumps(done.as_dict())

    assert lines_of(settings) == sold
    assert (
        lines_of(settings, "country = 'Iceland'")[0] == 0
    )  # nobody else lives there, so the country would identify the customer
    assert lists_of(settings, WHO)["for_you"].source == "country"
    assert lists_of(settings, OTHER) == served
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select state, length(customer_hash), requested_by, report::text from retail.erasure")
        assert [row[:3] for row in cursor.fetchall()] == [("done", 64, "test")]


def test_the_champion_and_its_snapshot_stay_valid_and_record_the_erasure(settings, shop):
    champion = registry.champion(settings)
    model_before, snapshot_before = artifacts.load_model(champion.url), read_snapshot(settings, champion.snapshot_id)

    forget(settings, WHO, requested_by="test")

    model_after, snapshot_after = artifacts.load_model(champion.url), read_snapshot(settings, champion.snapshot_id)
    assert model_after.customers == [customer for customer in model_before.customers if customer != WHO]
    rows = [model_before.customers.index(customer) + 1 for customer in model_after.customers]
    assert model_after.network.customer.weight.equal(model_before.network.customer.weight[[0, *rows]])
    (erasure,) = artifacts.read_manifest(champion.url)["erasures"]
    assert erasure["erasure"] == 1
    assert snapshot_after.sha256 != snapshot_before.sha256
    before, after = snapshot_before.interactions, snapshot_after.interactions
    assert len(after) == len(before)
    assert after["customer_id"].isna().sum() > before["customer_id"].isna().sum()
    assert refresh(settings) is not None
    assert lists_of(settings, OTHER)["for_you"].source == "customer"
    assert lists_of(settings, WHO)["for_you"].source == "country"
    assert everything(settings) == []
    # Earlier lists can go live again, from Redis or from their file.
    assert rollback(settings, champion.version, actor="test").version == champion.version
    assert everything(settings) == []


def test_an_old_file_does_not_bring_the_customer_back_and_changes_nothing(settings, shop):
    forget(settings, WHO, requested_by="test")
    again = shop.with_name("again.csv")
    again.write_text(shop.read_text() + f"{700004},22001,A GOOD THING,2,2011-05-21 10:00:00,1.5,{WHO},Iceland\n")
    counts = ingest(settings, [str(again)])
    assert (counts.merged, counts.quarantined) == (1, 3)  # all invoices but the new one are unchanged
    assert everything(settings) == []
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select customer_id, country from retail.invoice_line where invoice_no = '700004'")
        assert cursor.fetchall() == [(None, None)]
        # A line that a person had discarded is recognised.
        cursor.execute(
            "select state, note from raw.quarantined_line where batch_id = %s order by 1", (counts.batch_id,)
        )
        assert cursor.fetchall()[0] == ("discarded", "discarded before, in batch 1")


def test_a_purchase_after_the_erasure_is_a_new_customers_who_can_be_erased_too(settings, shop, tmp_path):
    first = forget(settings, WHO, requested_by="test")
    tomorrow = datetime.now() + timedelta(hours=1)
    new = tmp_path / "new.csv"
    new.write_text(f"{HEADER}\n700009,22001,A GOOD THING,2,{tomorrow:%Y-%m-%d %H:%M:%S},1.5,{WHO},France\n")
    ingest(settings, [str(new)])
    assert lines_of(settings, f"customer_id = '{WHO}'")[0] == 1
    again = forget(settings, WHO, requested_by="test")
    assert again.erasure > first.erasure
    assert again.places["retail.invoice_line.customer_id"] == 1
    assert everything(settings) == []


def test_an_erasure_that_was_killed_at_any_step_can_be_run_again(settings, shop, monkeypatch):
    def killed(*_arguments, **_named):
        raise KeyboardInterrupt

    after_each_step = [
        (files, "erase"),
        (files, "erase_from_snapshots"),
        (files.artifacts, "erase_customer"),
        (KnownManifests, "expect"),
        (KnownManifests, "forget"),
        (artifacts, "remove_files"),
        (stage, "erase_customer"),
        (stage.record, "finish_erasure"),
    ]
    for holder, step in after_each_step:
        with monkeypatch.context() as patch:
            patch.setattr(holder, step, killed)
            with pytest.raises(KeyboardInterrupt):
                forget(settings, WHO, requested_by="test")
        # The champion can serve at any time.
        champion = registry.champion(settings)
        assert artifacts.load_model(champion.url, known=KnownManifests(settings, champion.version))
        assert read_snapshot(settings, registry.champion(settings).snapshot_id)
    assert forget(settings, WHO, requested_by="test").erasure == 1
    assert everything(settings) == []


def test_a_model_that_was_in_training_during_the_erasure_is_saved_without_the_customer(settings, shop):
    champion = registry.champion(settings)
    trained = artifacts.load_model(champion.url)
    forget(settings, WHO, requested_by="test")
    retrain._save(
        KnownManifests(settings, champion.version), trained, champion.url, lineage={}, card="# Card", figures={}
    )
    assert WHO not in artifacts.load_model(champion.url).customers
    assert everything(settings) == []


def test_an_erasure_fails_if_an_unknown_place_names_the_customer(settings, shop):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("create table retail.newsletter (customer_id integer, words text)")
        cursor.execute("insert into retail.newsletter values (%s, %s)", (WHO, f"Dear {WHO}"))
    note = Path(settings.artifacts.removeprefix("file://")) / "notes" / "calls.txt"
    note.parent.mkdir()
    note.write_text(f"{WHO} rang up")
    with pytest.raises(ErasureError) as failure:
        forget(settings, WHO, requested_by="test")
    assert "retail.newsletter.customer_id (1), retail.newsletter.words (1), artifacts: notes (1)" in str(failure.value)
    assert str(WHO) not in str(failure.value)


def test_old_formats_and_pruned_models_do_not_stop_an_erasure(settings, shop):
    folder = Path(settings.artifacts.removeprefix("file://"))
    old = json.loads((folder / "backtests/v000001/manifest.json").read_text())
    (folder / "backtests/v000001/manifest.json").write_text(json.dumps({**old, "format": 1}))
    shutil.copytree(folder / "models/v000001", folder / "models/v000002")
    stored_as = artifacts.read_manifest((folder / "models/v000002").as_uri())["stored_as"]
    for name in (artifacts.TENSORS, artifacts.VOCABULARIES):
        (folder / "models/v000002" / stored_as[name]).unlink()  # as pruning leaves it
    forget(settings, WHO, requested_by="test")
    assert everything(settings) == []
    assert artifacts.load_model(registry.champion(settings).url)


def test_numbers_in_a_mapping_are_no_customers_and_files_in_folders_of_the_inbox_are_told(settings, shop):
    text = mappings.named(settings, "uci").yaml.replace("name: uci", "name: ours")
    mappings.save(settings, f"# an invoice's number: {WHO}\n{text}", saved_by="test")
    folder = settings.inbox_path.parent / "processed" / "ours"
    folder.mkdir(parents=True)
    (folder / "day.csv").write_text("from the shop")
    done = forget(settings, WHO, requested_by="test")
    assert [place for place in done.not_covered if f"1 of the shop's own files in {folder.parent}" in place]


def test_a_model_that_a_killed_run_never_finished_names_nobody_after_an_erasure(settings, shop):
    folder = Path(settings.artifacts.removeprefix("file://")) / "models"
    shutil.copytree(folder / "v000001", folder / "v000009")
    (folder / "v000009" / artifacts.MANIFEST).unlink()
    forget(settings, WHO, requested_by="test")
    assert everything(settings) == []


@pytest.mark.parametrize(
    ("stored", "typed", "differs"),
    [
        ("anna@example.com", "Anna@example.com", "in small letters"),
        ("C-1001x", "c-1001X", "with capital letters at 1 only"),
        ("17850", "017850", "without zeros in front"),
        ("0017850", "17850", "with 2 zeros in front"),
    ],
)
def test_a_customer_in_another_spelling_is_not_erased_by_half(settings, tmp_path, stored, typed, differs):
    file = tmp_path / "a.csv"
    file.write_text(
        f"{HEADER}\n1,22001,A,1,2011-05-20 10:00:00,1.5,{stored},France\n2,22001,A,0,2011-05-20,1,,France\n"
    )
    ingest(settings, [str(file)])
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select quarantine_id from raw.quarantined_line")
        discard_lines(settings, [cursor.fetchone()[0]], note=f"{stored} rang up")
    before = dump(settings)
    with pytest.raises(InputError, match=rf"but one is {differs}, so nothing was erased") as refused:
        forget(settings, typed, requested_by="test")
    assert "\n" not in str(refused.value)
    assert stored not in str(refused.value)
    assert dump(settings) == before
    assert forget(settings, f"\u200b {stored}", requested_by="test").places["retail.invoice_line.customer_id"] == 1
    assert stored not in "".join(dump(settings))


def test_a_pasted_id_is_read_as_ingest_reads_it_and_the_other_spelling_is_told(settings, tmp_path):
    file = tmp_path / "a.csv"
    lines = [f"{number},22001,A,1,2011-05-20 10:00:00,1.5,{customer},France" for number, customer in
             enumerate(["17850", "017850"])]  # fmt: skip
    file.write_text("\n".join([HEADER, *lines]))
    ingest(settings, [str(file)])
    done = forget(settings, "\u200e17850.0\u00a0", requested_by="test")
    assert done.places["retail.invoice_line.customer_id"] == 1
    assert done.not_covered[0] == "another customer, whose id is the same but with 1 zero in front"
    assert lines_of(settings, "customer_id = '017850'")[0] == 1


def test_an_unknown_customer_is_refused_and_leaves_no_trace(settings, shop):
    with pytest.raises(InputError, match=r"Nothing names customer \*\*\*99"):
        forget(settings, "99999", requested_by="test")
    assert lines_of(settings, "true")[0] > 0
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from retail.erasure")
        assert cursor.fetchone() == (0,)


def test_without_the_erasure_key_or_with_another_nothing_is_ingested(settings, shop, tmp_path):
    forget(settings, WHO, requested_by="test")
    again = tmp_path / "again.csv"
    again.write_text(f"{HEADER}\n700004,22001,A GOOD THING,2,2011-05-21 10:00:00,1.5,{WHO},Iceland\n")
    other = settings.model_copy(update={"erasure_key": type(settings.database_url)("another key, long enough")})
    with pytest.raises(SettingsError, match="is not the key"):
        ingest(other, [str(again)])
    key = settings.home / "secrets" / "erasure-key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    with pytest.raises(SettingsError, match="Restore the key"):
        ingest(settings, [str(again)])
    assert everything(settings) == []


def test_an_erasure_waits_for_runs_that_write_customers(settings, shop):
    with privacy.kept_out(settings):
        process = subprocess.Popen(
            [sys.executable, "-c", WAITING, settings.database()],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "waits\n"
        # A run that holds the lock may take it again: a waiting erasure does not block it.
        read_snapshot(settings, registry.champion(settings).snapshot_id)
        assert process.poll() is None
    assert process.stdout.readline() == "alone\n"
    process.communicate()


WAITING = """
import sys
from ncf_pipeline.privacy import alone
from ncf_pipeline.settings import Settings
print("waits", flush=True)
with alone(Settings(database_url=sys.argv[1])):
    print("alone", flush=True)
"""


@pytest.fixture
def moved(settings, shop, tmp_path):
    """The settings of the shop after its artifact store has moved: the registry names the one before."""
    return settings.model_copy(update={"artifacts_url": (tmp_path / "another store").as_uri()})


def test_files_are_erased_wherever_the_registry_points(settings, moved):
    done = forget(moved, WHO, requested_by="test")
    assert everything(settings) == everything(moved) == []
    place = f"artifacts in {settings.artifacts}"
    assert done.places[f"{place}: models"] == done.places[f"{place}: backtests"] == 1
    assert done.places[f"{place}: publications"] == 2
    champion = registry.champion(moved)
    assert artifacts.load_model(champion.url, known=KnownManifests(moved, champion.version))
    assert read_snapshot(moved, champion.snapshot_id)
    assert rollback(moved, champion.version, actor="test").version == champion.version


def test_a_store_that_cannot_be_reached_keeps_the_erasure_open_until_it_can_or_is_gone(settings, moved):
    store = Path(settings.artifacts.removeprefix("file://"))
    store.rename(store.with_name("away"))
    for _ in range(2):
        with pytest.raises(
            StoreUnavailableError, match=r"it holds no file, and the registry names some there"
        ) as raised:
            forget(moved, WHO, requested_by="test")
        assert f"forget CUSTOMER --gone {settings.artifacts}" in str(raised.value)
        assert "\n" not in str(raised.value)
        assert erasures(settings) == ["open"]
        assert everything(moved) == []
    store.with_name("away").rename(store)
    assert len(everything(settings)) > 3
    with monkeypatched_away(store):
        done = forget(moved, WHO, requested_by="test", gone=[f"{settings.artifacts}/"])
        assert erasures(settings) == ["done"]
        assert any("which no longer exists, as test says" in place for place in done.not_covered)
    forget(moved, WHO, requested_by="test")
    assert everything(settings) == []
    assert erasures(settings) == ["done", "done"]


@contextmanager
def monkeypatched_away(store):
    store.rename(store.with_name("away"))
    yield
    store.with_name("away").rename(store)


def erasures(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select state from retail.erasure order by erasure_id")
        return [state for (state,) in cursor.fetchall()]


def test_another_store_loses_nothing_but_the_customer(settings, moved):
    store = Path(settings.artifacts.removeprefix("file://"))
    of_others = store / "snapshots" / "s000099"
    of_others.mkdir()
    pl.DataFrame({"customer_id": [OTHER]}).write_parquet(of_others / "interactions.parquet")
    (store / "models" / "half.json.12345678.tmp").write_text("somebody writes this")
    before = set(store.rglob("*"))
    forget(moved, WHO, requested_by="test")
    assert (of_others / "interactions.parquet").exists()
    assert (store / "models" / "half.json.12345678.tmp").exists()
    assert {path.parent.name for path in before - set(store.rglob("*"))} <= {
        "s000001",
        "s000002",
        "snapshots",
        "v000001",
    }


@pytest.fixture
def versioned(request):
    """A bucket that keeps old versions."""
    import s3fs

    url = request.getfixturevalue("bucket")
    s3fs.S3FileSystem().call_s3(
        "put_bucket_versioning",
        Bucket=url.removeprefix("s3://"),
        VersioningConfiguration={"Status": "Enabled"},
    )
    return url


@pytest.mark.parametrize("settings", ["an object store with versions"], indirect=True)
def test_old_versions_in_a_bucket_do_not_name_the_customer_and_those_of_others_stay(settings, shop):
    with artifacts_file(settings, "notes/hello.txt") as write:
        write(b"hello")
        write(b"hello again")
    before = versions(settings)
    done = forget(settings, WHO, requested_by="test")
    assert done.left["artifacts: old versions"] == 0
    number = re.compile(rf"(?<![0-9]){WHO}(?![0-9])")
    after = versions(settings)
    assert [key for key, _, text in after if number.search(text)] == []
    assert sorted(text for key, _, text in after if key.endswith("hello.txt")) == ["hello", "hello again"]
    tensors = [key for key, is_latest, _ in after if key.endswith(artifacts.TENSORS) and not is_latest]
    assert tensors == []
    assert len(before) > 5


@contextmanager
def artifacts_file(settings, name):
    filesystem, root = fsspec.core.url_to_fs(settings.artifacts)
    yield lambda content: filesystem.pipe_file(f"{root}/{name}", content)


def versions(settings):
    """Key, whether it is the present one, and text, of each version of each file in the bucket."""
    import boto3

    client, bucket = boto3.client("s3"), settings.artifacts.removeprefix("s3://")
    found = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for each in page.get("Versions", ()):
            body = client.get_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])["Body"].read()
            parquet = each["Key"].endswith(".parquet")
            text = str(pl.read_parquet(body).to_dicts()) if parquet else body.decode(errors="replace")
            found.append((each["Key"], each["IsLatest"], text))
    return found


def test_files_that_a_killed_run_wrote_for_a_pruned_snapshot_are_removed(settings, shop):
    champion = registry.champion(settings)
    url = Path(snapshot_url(settings, champion.snapshot_id).removeprefix("file://"))
    files_before = {path.name: path.read_bytes() for path in url.iterdir()}
    prune_snapshots(settings, keep=(), unused_since=datetime.now().astimezone() + timedelta(hours=1))
    assert not any(url.glob("*"))
    forget(settings, WHO, requested_by="test")
    # A run that had read the purchases before, whose lock and connection were lost, is killed in the middle.
    url.mkdir(exist_ok=True)
    for name, content in files_before.items():
        (url / name).write_bytes(content)
    assert everything(settings)
    forget(settings, WHO, requested_by="test")
    assert everything(settings) == []


def snapshot_url(settings, snapshot_id):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select url from ml.snapshot where snapshot_id = %s", (int(snapshot_id[1:]),))
        return cursor.fetchone()[0]


def test_unpacked_files_that_a_killed_ingest_left_are_deleted_and_others_stay(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, fresh, foreign = (tmp_path / name for name in ("ncf-a1b2c3d4", "ncf-e5f6g7h8", "ncf-notes"))
    for folder in (left, fresh, foreign):
        folder.mkdir()
        (folder / "cells.arrow").write_text(WHO)
    for folder in (left, foreign):
        os.utime(folder, (0, 0))
    files.delete_leftovers(settings)
    assert [folder.exists() for folder in (left, fresh, foreign)] == [False, True, True]
