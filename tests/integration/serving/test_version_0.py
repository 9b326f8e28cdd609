"""Version 0, the baselines: it serves from the first refresh until a model is proven, and after a rollback to it."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest
from weekly_versions import TODAY, WEEK, sell

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import DatabaseError, ListStoreError
from ncf_pipeline.experiments import stages as experiments
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.live.performance import live_performance
from ncf_pipeline.model.lists.assemble import version_0_lists
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving import publish as publishing
from ncf_pipeline.serving.prune import prune
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback, servable_versions
from ncf_pipeline.serving.watch import watch
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront
from ncf_pipeline.training import report as reports
from ncf_pipeline.training import retrain


@pytest.fixture
def storefront(settings):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        yield shop


def test_the_first_refresh_of_a_shop_publishes_lists_without_a_retrain(shop, storefront, live, states):
    assert registry.champion(shop) is None
    assert refresh(shop, requested_by="somebody") == 1
    assert live() == ("p000001", "v0")
    assert states() == {0: "champion"}
    lists = storefront.lists_of_customer(14600)
    assert {name: entry.source for name, entry in lists.items()} == dict.fromkeys(lists, "customer")
    assert len(lists["for_you"].stock_codes) == shop.top_n
    assert {reason.code for reason in lists["for_you"].reasons} <= {"bought", "goes_with", "popular_with", "popular"}
    assert len(storefront.for_visitor(country="France").stock_codes) == shop.top_n
    assert json.loads(storefront.meta()["recommenders"]) == {
        "for_you": "baselines",
        "discover": "baselines",
        "buy_again": "baselines",
        "bought_together": "baskets",
        "similar": "baskets",
        "new_arrivals": "sales",
    }
    events = [(event.from_state, event.to_state, event.actor) for event in registry.model_events(shop, 0)]
    assert events == [(None, "candidate", "somebody"), ("candidate", "champion", "somebody")]


def test_it_is_made_new_with_each_refresh(shop, live):
    refresh(shop)
    before = registry.champion(shop)
    sell(shop, TODAY, TODAY + timedelta(days=2))
    refresh(shop)
    after = registry.champion(shop)
    assert live() == ("p000002", "v0")
    assert after.cutoff - before.cutoff == timedelta(days=2)
    assert after.snapshot_id != before.snapshot_id
    assert after.promoted_at == before.promoted_at
    assert len(registry.model_events(shop, 0)) == 2


def test_from_version_0_to_a_model_and_back(shop, serve, candidate, states, live):
    refresh(shop)
    model = serve("first retrain", TODAY - WEEK)  # its cutoff is earlier than that of version 0's lists
    assert states() == {0: "retired", model: "champion"}
    assert registry.publications(shop)[0].as_of >= registry.publications(shop)[1].as_of
    back = rollback(shop, actor="somebody")
    assert (back.version, back.flipped) == (0, True)
    assert live() == ("p000001", "v0")
    assert states() == {0: "champion", model: "retired"}
    assert registry.model_version(shop, model).withdrawn_at is not None
    refresh(shop)
    assert live() == ("p000003", "v0")
    forward = rollback(shop, model, actor="somebody")
    assert forward.version == model
    assert registry.model_version(shop, 0).withdrawn_at is None
    assert registry.incumbent(shop, holdout_start=TODAY + WEEK, before_version=99).version == model


def test_a_rollback_to_lists_that_redis_no_longer_holds_writes_them_again(shop, serve, store, live):
    refresh(shop)
    serve("first retrain")
    store.delete(f"{shop.key_prefix}:p000001:meta")
    back = rollback(shop, 0, actor="somebody")
    assert (back.version, back.flipped) == (0, False)
    assert live() == (f"p{back.publication:06d}", "v0")
    assert json.loads(store.hget(f"{shop.key_prefix}:p{back.publication:06d}:meta", "recommenders"))["for_you"] == (
        "baselines"
    )


@pytest.mark.parametrize("began", ["before any champion", "under version 0"])
def test_it_never_blocks_a_promotion(shop, candidate, states, began):
    if began == "under version 0":
        refresh(shop)
    model = candidate("first retrain", TODAY - 4 * WEEK)
    refresh(shop)
    assert registry.champion(shop).cutoff > registry.model_version(shop, model).cutoff
    assert retrain.register(shop, model)
    assert states() == {0: "retired", model: "champion"}


def test_a_run_is_held_if_a_person_rolled_back_to_it_meanwhile(shop, serve, candidate, states):
    refresh(shop)
    serving = serve("first retrain")
    on_its_way = candidate("second retrain")
    rollback(shop, actor="somebody")
    assert not retrain.register(shop, on_its_way)
    assert states() == {0: "champion", serving: "retired", on_its_way: "held"}
    (reason,) = registry.gate_decision(shop, on_its_way).reasons
    assert reason.startswith("v0 was made champion at ")


def test_a_run_from_before_any_champion_is_held_after_a_rollback_to_it(shop, serve, candidate, states):
    on_its_way = candidate("slow retrain")
    refresh(shop)
    quick = serve("quick retrain")
    rollback(shop, 0, actor="somebody")
    assert not retrain.register(shop, on_its_way)
    assert states() == {0: "champion", quick: "retired", on_its_way: "held"}


def test_the_words_of_a_held_run_say_what_serves(shop, serve, candidate, caplog):
    caplog.set_level("INFO")

    def said(version):
        registry.hold(shop, version, ["too few hits"])
        caplog.clear()
        retrain.log_decision(shop, version)
        return caplog.messages[0]

    first = candidate("first")
    assert said(first) == (
        f"Gate: v{first} is held; nothing serves yet, and `ncf-pipeline refresh` publishes version 0 (baselines)."
    )
    refresh(shop)
    assert said(first) == f"Gate: v{first} is held; version 0 (baselines) serves."
    serving, held = serve("second"), candidate("third")
    assert said(held) == f"Gate: v{held} is held; v{serving} serves."


def test_it_is_never_pruned_and_needs_no_folder(shop, serve):
    refresh(shop)
    serve("first retrain")
    prune(shop, now=registry.publications(shop)[0].published_at + timedelta(days=1000))
    version = registry.model_version(shop, 0)
    assert (version.pruned_at, version.url) == (None, None)
    assert rollback(shop, 0, actor="somebody").version == 0
    prune(shop)


def test_a_retrain_is_not_called_missing_because_version_0_is_old(shop):
    refresh(shop)
    now = registry.champion(shop).created_at + timedelta(days=1000)
    assert "retrain_missing" not in watch(shop, now=now).broken


def test_it_is_listed_and_shown(shop, serve):
    refresh(shop)
    summary = reports.retrain_summary(shop, 0)
    assert summary.as_dict()["recommender"] == "baselines"
    assert (summary.decision, summary.evaluation) == (None, ())
    assert summary.batches == [7]
    assert reports.figures(shop, 0) == []
    serve("first retrain")
    assert [entry.version for entry in servable_versions(shop)] == [1, 0]


def test_its_live_lists_are_measured(shop, serve):
    refresh(shop)
    sell(shop, TODAY, TODAY + timedelta(days=3))
    snapshot_id = take_snapshot(shop, TODAY + timedelta(days=3))
    report = live_performance(shop, snapshot_id)
    assert report is not None
    assert report.figures["precision"]["for_you"]["customers"] > 0
    assert [row.version for row in reports.retrain_summary(shop, 0).live][:1] == [0]


@pytest.mark.parametrize("champion", ["model", "version 0"])
def test_an_experiment_can_compare_a_model_with_it(shop, serve, storefront, champion):
    """One group gets the champion's lists, the other the challenger's, whichever of them is version 0."""
    refresh(shop)
    model = serve("first retrain")
    if champion == "version 0":
        rollback(shop, 0, actor="somebody")
    challenger = 0 if champion == "model" else model
    design = Design("compare", "One is better.", "challenger", 0.5, "salt", TODAY, challenger=challenger)
    started = experiments.start(shop, design, by="somebody")
    assert refresh(shop) == registry.publications(shop)[0].number
    assert registry.publications(shop)[0].experiment == started.number
    snapshot = read_snapshot(shop, take_snapshot(shop, None))
    by_version_0 = version_0_lists(
        snapshot.interactions, snapshot.cutoff, shop.top_n, [str(who) for who in range(14600, 14640)]
    )
    expected = by_version_0[by_version_0[Lists.LIST_NAME] == "for_you"].set_index(Lists.KEY)[Lists.STOCK_CODES]
    same = [list(storefront.for_customer(who).stock_codes) == expected[str(who)] for who in range(14600, 14640)]
    inside = chosen(design.salt, design.share, [str(who) for who in range(14600, 14640)])
    assert same == [bool(is_in) == (challenger == 0) for is_in in inside]


REFRESH = """
import sys
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.settings import Settings
settings = Settings(database_url=sys.argv[1], redis_url=sys.argv[2], key_prefix=sys.argv[3], artifacts=sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
print(refresh(settings))
"""


def test_two_first_refreshes_at_once_make_one_champion(shop, live, states):
    arguments = [shop.database(), shop.list_store(), shop.key_prefix, shop.artifacts]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", REFRESH, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120) for process in processes]
    # Lists that come late do not replace newer ones: then their publisher says so.
    made = sorted(out.strip() for out, _ in said if out.strip())
    assert made in (["1", "2"], ["2"]), said
    assert all("p000002 is live, and is not older" in error for out, error in said if not out.strip()), said
    assert live() == ("p000002", "v0")
    assert states() == {0: "champion"}
    assert len(registry.model_events(shop, 0)) == 2
    assert live()[1] == "v0"


def test_killed_between_opening_and_publishing_the_next_refresh_publishes(shop, live, states, monkeypatch):
    def killed(*args, **kwargs):
        raise ListStoreError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "publish_lists", killed)
        with pytest.raises(ListStoreError):
            refresh(shop)
    assert states() == {0: "champion"}
    assert registry.publications(shop) == []
    assert refresh(shop) == 1
    assert live() == ("p000001", "v0")


def test_a_shop_without_purchases_is_told_what_to_do(settings, caplog):
    caplog.set_level("INFO")
    assert refresh(settings) is None
    assert caplog.messages[-1] == (
        "Nothing was published. There are no invoices yet: load some with `ncf-pipeline ingest FILE`."
    )
    assert registry.model_versions(settings) == []


def test_a_version_0_of_another_kind_is_impossible(shop):
    refresh(shop)
    for change in ("recommender = 'ncf'", "state = 'held'", "pruned_at = now()"):
        with pytest.raises(DatabaseError, match="violates check constraint"), transaction(shop) as connection:
            connection.cursor().execute(f"update ml.model_version set {change} where version = 0")
