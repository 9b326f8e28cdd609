"""Lists that are made in shards, by one process or by several, and what happens between the tasks of a run."""

import logging
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow.parquet as pq
import pytest
from weekly_versions import TODAY, WEEK

from ncf_pipeline.columns import Lists
from ncf_pipeline.erasure import files as erasing_files
from ncf_pipeline.erasure import forget as erasing
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import ArtifactError, ErasedMeanwhileError, ListStoreUnavailableError, SupersededError
from ncf_pipeline.experiments import records as experiments
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.registry import live_periods, snapshot_files
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.arrays import write_arrays
from ncf_pipeline.registry.snapshots import Snapshot, SnapshotInParts, read_or_open, read_snapshot, take_snapshot
from ncf_pipeline.serving import publish, scoring
from ncf_pipeline.serving.prune import prune
from ncf_pipeline.serving.publish import prepare, publish_parts, refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.serving.scoring import model_of, score_shards
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import list_files, new_file, open_file, remove_file
from ncf_pipeline.training import retrain

WHO = "14601"
DESIGN = Design("spring", "Lists sell more.", "holdout", 0.3, "salt", starts_at=TODAY)


def in_shards(settings, count):
    return settings.model_copy(update={"scoring_shards": count})


def kept(settings, number):
    """The lists of a publication, as they are kept: every row and column, in their order."""
    (url,) = [entry.url for entry in registry.publications(settings) if entry.number == number]
    return pq.read_table(url.removeprefix("file://")).to_pandas()


def in_redis(settings, store, number):
    prefix = f"{settings.key_prefix}:p{number:06d}:"
    keys = [key for key in store.scan_iter(f"{prefix}*") if key.split(":")[2] in ("customer", "product", "fallback")]
    return {key.removeprefix(prefix): store.hgetall(key) for key in keys}


def files(settings):
    return sorted(list_files(f"{settings.artifacts}/drafts"))


def parts(settings):
    return [name for name in files(settings) if "/shared/" not in name]


def draft_states(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select state, publication from ml.draft order by draft_id")
        return cursor.fetchall()


def hide(settings, code):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.unlisted_product values (%s, 'out of stock')", (code,))


def in_tasks(settings, count, monkeypatch):
    """Publishes as Airflow's tasks do; those that score read no purchases, and make nothing that all share."""
    made = prepare(in_shards(settings, count))
    with monkeypatch.context() as once:
        once.setattr(scoring, "read_or_open", None)
        once.setattr(scoring, "maker_of", None)
        for part in made:
            assert score_shards(settings, [part])
    return publish_parts(settings, made)


def test_lists_in_shards_are_those_of_a_list_maker_to_the_last_byte(shop, serve, store):
    version = serve("a")
    entry = registry.model_version(shop, version)
    frozen = read_snapshot(shop, take_snapshot(shop, None))
    maker = ListMaker(model_of(shop, entry), frozen.interactions, frozen.cutoff)
    made = maker.customers(10, spare=shop.spare)
    customers = [lists.assign(**{Lists.REASONS: maker.reasons(lists)}) for lists in made]
    length = 10 + shop.spare
    others = [maker.products(length), fallback_lists(frozen.interactions, frozen.cutoff, length)]
    expected = pd.concat([*customers, *others], ignore_index=True)
    stored = {}
    for count in (1, 3, 64):  # of which some have no customer
        number = refresh(in_shards(shop, count))
        made = kept(shop, number)
        made[Lists.STOCK_CODES] = made[Lists.STOCK_CODES].map(list)
        for column in (*Lists.ALL, Lists.REASONS):
            assert made[column].fillna("").tolist() == expected[column].fillna("").tolist(), column
        assert live_periods.certainty(shop, number) == maker.certainty.counts.tolist()
        stored[count] = in_redis(shop, store, number)
        assert files(shop) == []
    assert stored[1] == stored[3] == stored[64]
    assert {state for state, _ in draft_states(shop)} == {"published"}


@pytest.mark.parametrize(
    "more", [{"kind": "holdout"}, {"kind": "challenger", "challenger": 1}, {"kind": "order", "list_order": "value"}]
)
def test_an_experiments_share_is_in_shards_too(shop, serve, store, more, monkeypatch):
    serve("a", TODAY - WEEK)
    serve("b")
    experiments.start(shop, Design(**{**vars(DESIGN), **more}), by="test")
    settings = shop.model_copy(update={"chances": True, "due": True})
    whole, sharded = (refresh(in_shards(settings, count)) for count in (1, 3))
    pd.testing.assert_frame_equal(kept(shop, whole), kept(shop, sharded))
    published = in_redis(shop, store, whole)  # which the third publication removes, if it takes long
    assert published == in_redis(shop, store, sharded)
    mapped = in_tasks(settings, 3, monkeypatch)
    pd.testing.assert_frame_equal(kept(shop, whole), kept(shop, mapped))
    assert published == in_redis(shop, store, mapped)
    groups = kept(shop, whole)[Lists.GROUP]
    assert groups.notna().any()
    assert groups.isna().any()


def test_tasks_may_score_in_any_order_and_twice(shop, serve, store):
    serve("a")
    first = refresh(shop)
    made = prepare(in_shards(shop, 3))
    assert [part.rpartition("/")[2] for part in made] == [f"part-000{n}-of-0003.parquet" for n in (1, 2, 3)]
    for part in (made[2], made[0], made[2], made[1]):
        assert score_shards(shop, [part])
    number = publish_parts(shop, made)
    assert in_redis(shop, store, number) == in_redis(shop, store, first)
    assert files(shop) == []


@pytest.mark.parametrize("model", ["a model", "version 0"])
def test_a_snapshot_in_parts_makes_the_lists_that_it_makes_in_one(shop, serve, store, monkeypatch, model):
    if model == "a model":
        serve("a")
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update retail.list_limit set min_price = 1.0")
        cursor.execute("insert into retail.product_category select stock_code, 'Cups' from retail.product")
    settings = shop.model_copy(update={"order": "value", "chances": True, "due": True})
    expected = refresh(settings)
    published = in_redis(shop, store, expected)
    monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", 100)
    assert isinstance(read_or_open(shop, take_snapshot(shop, None)), SnapshotInParts)
    with monkeypatch.context() as by_parts:
        by_parts.setattr(Snapshot, "parts", None)  # the whole is never read
        numbers = [in_tasks(settings, 3, monkeypatch), refresh(settings)]
    for number in numbers:
        pd.testing.assert_frame_equal(kept(shop, number), kept(shop, expected))
        assert in_redis(shop, store, number) == published


@pytest.mark.parametrize("model", ["a model", "version 0"])
def test_what_all_customers_share_is_made_once_and_mapped_by_each_shard(shop, serve, store, monkeypatch, model):
    if model == "a model":
        serve("a")
    settings = shop.model_copy(update={"variety_repeat": 1, "order": "value", "chances": True, "due": True})
    expected = refresh(settings)
    number = in_tasks(settings, 3, monkeypatch)
    pd.testing.assert_frame_equal(kept(shop, number), kept(shop, expected))
    assert in_redis(shop, store, number) == in_redis(shop, store, expected)
    assert live_periods.certainty(shop, number) == live_periods.certainty(shop, expected)
    assert files(shop) == []


def test_a_shop_of_one_shard_makes_it_where_it_is_scored(shop, serve):
    serve("a")
    assert [name for name in files(shop) if "/shared/" in name] == []
    made = prepare(shop)
    assert files(shop) == []
    assert score_shards(shop, made)
    publish_parts(shop, made)


def test_shards_map_it_from_an_object_store(shop, serve, bucket, monkeypatch):
    serve("a")
    expected = kept(shop, refresh(shop))
    settings = shop.model_copy(update={"artifacts_url": bucket, "cache": shop.home / "copies"})
    made = prepare(in_shards(settings, 2))
    with monkeypatch.context() as once:
        once.setattr(scoring, "read_or_open", None)
        for part in made:
            assert score_shards(settings, [part])
    (url,) = {part.rpartition("/")[0] for part in made}
    assert "shared/arrays.json" in list_files(url)
    assert [path.name for path in settings.cache.iterdir()]
    number = publish_parts(settings, made)
    assert list_files(f"{bucket}/drafts") == {}
    url = next(entry.url for entry in registry.publications(shop) if entry.number == number)
    with open_file(url) as file:
        made_again = pq.read_table(file).to_pandas()
    pd.testing.assert_frame_equal(made_again.drop(columns=Lists.AS_OF), expected.drop(columns=Lists.AS_OF))
    erasing_files.delete_leftovers(settings)
    assert list(settings.cache.iterdir()) == []


def test_a_prepare_that_is_killed_while_it_writes_leaves_no_manifest_and_prune_removes_the_rest(
    shop, serve, monkeypatch
):
    serve("a")
    with monkeypatch.context() as killed:
        killed.setattr(scoring, "write_arrays", _killed_half_way)
        with pytest.raises(KeyboardInterrupt):
            prepare(in_shards(shop, 2))
    left = files(shop)
    assert left
    assert all("/shared/" in name and name.endswith(".npy") for name in left)
    folder = left[0].partition("/")[0]
    # Whoever scores a draft without it makes it for itself.
    assert score_shards(shop, [f"{shop.artifacts}/drafts/{folder}/part-0001-of-0002.parquet"])
    assert erasing.search(shop, WHO)["artifacts: drafts"] == 2  # the ids are found without their manifest too
    prune(shop, now=datetime.now(UTC) + timedelta(days=8))
    assert files(shop) == []


def _killed_half_way(url, arrays, facts, *, personal):
    write_arrays(url, dict(list(arrays.items())[:5]), facts, personal=())
    remove_file(f"{url}/arrays.json")
    raise KeyboardInterrupt


def test_a_prepare_that_fails_while_it_writes_drops_its_draft(shop, serve, monkeypatch):
    serve("a")

    def full(*_, **__):
        raise ArtifactError("The disk is full.")

    monkeypatch.setattr(scoring, "write_arrays", full)
    with pytest.raises(ArtifactError, match="The disk is full"):
        prepare(in_shards(shop, 2))
    assert draft_states(shop)[-1][0] == "dropped"


def test_an_erasure_during_prepare_leaves_nothing_that_all_customers_share(shop, serve, monkeypatch):
    serve("a")

    def erased_meanwhile(*_):
        raise ErasedMeanwhileError("A customer was erased meanwhile.")

    monkeypatch.setattr(scoring, "refuse_if_erased_since", erased_meanwhile)
    with pytest.raises(ErasedMeanwhileError):
        prepare(in_shards(shop, 2))
    assert files(shop) == []


def test_what_changes_while_shards_are_scored_reaches_all_of_them_or_none(shop, serve):
    """The rules of the draft hold for all its shards. `publish` sees that they changed, and makes all lists again."""
    serve("a")
    made = prepare(in_shards(shop, 2))
    score_shards(shop, made[:1])
    best = kept(shop, 1)[Lists.STOCK_CODES].iloc[0][0]
    hide(shop, best)
    score_shards(shop, made[1:])
    number = publish_parts(shop, made)
    assert all(best not in codes for codes in kept(shop, number)[Lists.STOCK_CODES])
    assert files(shop) == []


def test_a_rule_that_changes_no_list_lets_the_draft_be_published(shop, serve, caplog):
    serve("a")
    caplog.set_level(logging.INFO)
    made = prepare(shop)
    score_shards(shop, made)
    hide(shop, "nobody sells this")
    publish_parts(shop, made)
    assert not [message for message in caplog.messages if "made again" in message]


def test_an_erasure_between_the_tasks_leaves_no_part_and_shoppers_get_lists_without_the_customer(
    shop, serve, live, caplog
):
    serve("a")
    caplog.set_level(logging.INFO)
    made = prepare(in_shards(shop, 2))
    score_shards(shop, made[:1])
    assert erasing.search(shop, WHO)["artifacts: drafts"] == 2  # a part, and the ids beside what all share
    done = forget(shop, WHO, requested_by="test")
    assert done.places["artifacts: drafts"] == 2
    assert not [name for name in files(shop) if "/shared/" in name]
    assert not score_shards(shop, made[1:])
    number = publish_parts(shop, made)
    assert live()[0] == f"p{number:06d}"
    assert WHO not in set(kept(shop, number)[Lists.KEY])
    assert {place: count for place, count in erasing.search(shop, WHO).items() if count} == {}
    assert "d000002 is not published. A customer was erased since. All lists are made again." in caplog.messages


def test_a_rollback_between_the_tasks_is_not_undone(shop, serve, live):
    serve("a", TODAY - WEEK)
    second = serve("b")
    refreshed, retrained = prepare(shop), retrain.prepare(shop, second)
    score_shards(shop, refreshed)
    score_shards(shop, retrained)
    rollback(shop, 1, actor="ops")
    with pytest.raises(SupersededError, match="v1 serves now"):
        retrain.publish(shop, second, retrained)
    with pytest.raises(SupersededError):
        retrain.prepare(shop, second)
    publish_parts(shop, refreshed)
    assert live()[1] == "v1"
    assert files(shop) == []


def test_a_retrain_whose_lists_are_older_than_others_that_were_live_makes_them_again(shop, serve):
    version = serve("a", TODAY - WEEK)
    made = retrain.prepare(shop, version)
    assert retrain.score_shards(shop, made)
    refresh(shop)
    number = retrain.publish(shop, version, made)
    newest = registry.publications(shop)[0]
    assert newest.number == number
    assert newest.as_of > TODAY - WEEK


def test_a_retry_of_publish_takes_the_same_parts(shop, serve, monkeypatch):
    serve("a")
    made = prepare(in_shards(shop, 2))
    score_shards(shop, made)
    make_live = publish._make_live

    def lost(*arguments, **named):
        monkeypatch.setattr(publish, "_make_live", make_live)
        raise ListStoreUnavailableError("Redis does not answer.")

    monkeypatch.setattr(publish, "_make_live", lost)
    with pytest.raises(ListStoreUnavailableError):
        publish_parts(shop, made)
    assert len(parts(shop)) == 2
    monkeypatch.setattr(publish, "Scoring", None)  # nothing is scored again
    publish_parts(shop, made)
    assert files(shop) == []


def test_a_part_that_is_gone_is_one_clear_line_and_the_previous_lists_stay(shop, serve, live):
    serve("a")
    seen = live()
    made = prepare(in_shards(shop, 2))
    score_shards(shop, made)
    remove_file(made[1])
    with pytest.raises(ArtifactError) as caught:
        publish_parts(shop, made)
    assert str(caught.value).startswith(f"Shard 2 of 2 of d000002, {made[1]}, cannot be read: ")
    assert str(caught.value).endswith("Do all workers use the same artifact store? Run it again.")
    assert live() == seen
    assert files(shop) == []


def test_a_draft_that_was_published_is_made_again_if_its_task_is_run_again(shop, serve, live):
    serve("a")
    made = prepare(shop)
    score_shards(shop, made)
    first = publish_parts(shop, made)
    assert not score_shards(shop, made)
    second = publish_parts(shop, made)
    assert second > first
    assert live()[0] == f"p{second:06d}"


def test_prune_removes_the_parts_of_drafts_that_nobody_goes_on_with(shop, serve):
    serve("a")
    made = prepare(in_shards(shop, 2))
    score_shards(shop, made)
    with new_file(f"{shop.artifacts}/drafts/d000001/part-0001-of-0001.parquet") as late:
        late.write(b"of a draft that has ended")
    assert prune(shop).parts == 1
    assert len(parts(shop)) == 2
    assert prune(shop, now=datetime.now(UTC) + timedelta(days=8)).parts == 3  # with what they share
    assert files(shop) == []
    assert draft_states(shop)[-1] == ("dropped", None)
