"""The main job through the DAGs: invoices in, lists in Redis."""

import json

import pytest
import redis

from ncf_pipeline import synthetic
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.storage.files import list_files
from ncf_pipeline.storefront import Storefront

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


REFRESH = ("prepare", "score", "publish")


def states(run):
    return {instance.task_id: str(instance.state) for instance in run.get_task_instances()}


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield client


def test_from_a_workbook_in_the_inbox_to_lists_in_redis(dags, connections, store):
    settings = connections
    settings.inbox_path.mkdir(parents=True, exist_ok=True)
    synthetic.write_workbook(settings.inbox_path / "invoices.xlsx", customers=250, products=200, days=200, seed=1)

    ingested = dags["ingest_invoices"].test()
    assert states(ingested) == dict.fromkeys(("discover", "land", "validate", "quarantine", "merge"), "success")
    assert not list(settings.inbox_path.iterdir())

    # Before the first model, version 0 serves.
    assert states(dags["refresh_lists"].test()) == dict.fromkeys(REFRESH, "success")
    assert registry.champion(settings).version == 0
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        assert shop.meta()["model_version"] == "v0"
        assert len(shop.for_visitor().stock_codes) == 10

    retrained = dags["retrain_recommender"].test(run_conf={"seed": 3})
    assert states(retrained) == {
        **dict.fromkeys(
            ("snapshot", "live_performance", "backtest", "gate", "refit", "approve", "register", *REFRESH), "success"
        ),
        "held": "skipped",
    }
    champion = registry.champion(settings)
    assert champion is not None
    assert champion.config["recipe"]["seed"] == 3

    prefix = settings.key_prefix
    live = store.get(f"{prefix}:current")
    meta = store.hgetall(f"{prefix}:{live}:meta")
    assert meta["model_version"] == champion.name
    customers = list(store.scan_iter(f"{prefix}:{live}:customer:*"))
    assert len(customers) == int(meta["customers"]) > 200
    lists = {key: json.loads(store.hget(key, "for_you")) for key in customers}
    assert all(len(codes) == len(set(codes)) == 20 for codes in lists.values())
    # The failure that the gate exists to prevent: the same list for everyone.
    assert len({tuple(codes) for codes in lists.values()}) > len(lists) / 2

    refreshed = dags["refresh_lists"].test()
    assert states(refreshed) == dict.fromkeys(REFRESH, "success")
    assert store.get(f"{prefix}:current") > live

    # Loading the same workbook again changes nothing, and the run says so.
    synthetic.write_workbook(settings.inbox_path / "again.xlsx", customers=250, products=200, days=200, seed=1)
    again = dags["ingest_invoices"].test()
    assert states(again)["merge"] == "skipped"
    assert str(again.state) == "success"


def test_a_held_run_ends_green_and_shoppers_keep_their_lists(dags, connections, store, monkeypatch):
    settings = connections
    settings.inbox_path.mkdir(parents=True, exist_ok=True)
    synthetic.write_workbook(settings.inbox_path / "invoices.xlsx", customers=120, products=120, days=120, seed=2)
    assert states(dags["refresh_lists"].test()) == dict.fromkeys(REFRESH, "skipped")  # there are no purchases yet
    dags["ingest_invoices"].test()
    dags["refresh_lists"].test()
    monkeypatch.setenv("NCF_GATE_MIN_COVERAGE_RATIO", "99")

    held = dags["retrain_recommender"].test()

    assert states(held) == {
        **dict.fromkeys(("snapshot", "live_performance", "backtest", "gate", "held"), "success"),
        **dict.fromkeys(("refit", "approve", "register", *REFRESH), "skipped"),
    }
    assert str(held.state) == "success"
    version = registry.model_versions(settings)[0]
    assert version.state == "held"
    decision = registry.gate_decision(settings, version.version)
    assert decision.promote is False
    assert any("of the catalogue" in reason for reason in decision.reasons)
    live = store.get(f"{settings.key_prefix}:current")
    assert store.hget(f"{settings.key_prefix}:{live}:meta", "model_version") == "v0"
    assert registry.champion(settings).version == 0


def test_a_refresh_in_three_shards_publishes_the_same_lists_and_leaves_no_part(dags, connections, store, monkeypatch):
    settings = connections
    settings.inbox_path.mkdir(parents=True, exist_ok=True)
    synthetic.write_workbook(settings.inbox_path / "invoices.xlsx", customers=120, products=120, days=120, seed=2)
    dags["ingest_invoices"].test()

    def lists():
        start = f"{settings.key_prefix}:{store.get(f'{settings.key_prefix}:current')}:"
        keys = [key for key in store.scan_iter(f"{start}*") if key.split(":")[2] in ("customer", "product", "fallback")]
        return {key.removeprefix(start): store.hgetall(key) for key in keys}

    dags["refresh_lists"].test()
    whole = lists()
    monkeypatch.setenv("NCF_SCORING_SHARDS", "3")
    run = dags["refresh_lists"].test()
    instances = [(task.task_id, task.map_index, str(task.state)) for task in run.get_task_instances()]
    assert sorted(instances) == [
        ("prepare", -1, "success"),
        ("publish", -1, "success"),
        *(("score", shard, "success") for shard in range(3)),
    ]
    assert lists() == whole
    assert len(whole) > 240
    assert list_files(f"{settings.artifacts}/drafts") == {}


def test_with_an_empty_inbox_nothing_runs_and_nothing_fails(dags, connections):
    run = dags["ingest_invoices"].test()
    assert str(run.state) == "success"
    assert states(run)["land"] == "skipped"


def test_a_retrain_without_invoices_fails_with_one_clear_line(dags, connections, caplog):
    run = dags["retrain_recommender"].test()
    assert str(run.state) == "failed"
    assert states(run)["snapshot"] == "failed"
