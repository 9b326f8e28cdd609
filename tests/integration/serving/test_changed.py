"""A refresh that scores only customers for whom something changed."""

import json
import logging
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow.parquet as pq
import pytest
from psycopg2.extras import execute_values
from weekly_versions import BATCH, TODAY, WEEK

from ncf_pipeline.columns import Lists
from ncf_pipeline.erasure import forget as erasing
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import ErasedMeanwhileError
from ncf_pipeline.experiments import records as experiments
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.registry import live_periods, snapshot_files
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import Snapshot
from ncf_pipeline.serving import scoring
from ncf_pipeline.serving.prune import prune
from ncf_pipeline.serving.publish import prepare, publish_parts, refresh
from ncf_pipeline.serving.scoring import score_shards, share_of
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import list_files, remove_file
from ncf_pipeline.storefront import Storefront

DAY = timedelta(days=1)


@pytest.fixture
def changed(shop, serve):
    """Settings that score only who changed, of a shop whose lists were made by a refresh."""
    serve("a", TODAY - WEEK)
    refresh(shop)
    return shop.model_copy(update={"refresh": "changed", "refresh_max_difference": 1.0})


def buy(settings, customer, at, code="22010", invoice="N1"):
    rows = [(invoice, 0, code, "A GOOD THING", 1, at, 1.0, customer, "France", BATCH)]
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)
        execute_values(cursor, "insert into retail.product values %s on conflict do nothing", [(code, "A THING", at)])


def run(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def kept(settings, number):
    (url,) = [entry.url for entry in registry.publications(settings) if entry.number == number]
    return pq.read_table(url.removeprefix("file://")).to_pandas()


def of_customers(lists):
    mine = lists[lists[Lists.AUDIENCE] == "customer"]
    return {(row.key, row.list_name): (list(row.stock_codes), row.reasons) for row in mine.itertuples()}


def scored(settings, number):
    """The customers whose lists are as of this publication, and not of an earlier one."""
    (as_of,) = [entry.as_of for entry in registry.publications(settings) if entry.number == number]
    lists = kept(settings, number)
    mine = lists[lists[Lists.AUDIENCE] == "customer"]
    return set(mine.loc[mine[Lists.AS_OF] == as_of, Lists.KEY])


def counts(settings, number):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select refreshed from ml.publication where number = %s", (number,))
        return cursor.fetchone()[0]


def in_drafts(settings):
    return sorted(path.partition("/")[2] for path in list_files(f"{settings.artifacts}/drafts"))


def test_who_bought_and_who_is_new_are_scored_and_the_others_keep_their_lists(shop, changed, store):
    buy(shop, "14605", TODAY, invoice="N1")
    buy(shop, "19999", TODAY, invoice="N2")
    before = of_customers(kept(shop, 2))
    number = refresh(changed)
    after = of_customers(kept(shop, number))
    assert scored(shop, number) == {"14605", "19999"}
    said = counts(shop, number)
    assert (said["since"], said["scored"], said["taken_over"]) == (2, {"new": 1, "purchases": 1}, 39)
    assert said["sample"] == 39
    assert 0 <= said["difference"] <= said["at_most"] <= 1
    whole = of_customers(kept(shop, refresh(shop)))
    assert after.keys() == whole.keys()
    for (customer, name), made in after.items():
        theirs = whole if customer in ("14605", "19999") else before
        assert made == theirs[customer, name]
    live = store.get(f"{shop.key_prefix}:current")
    assert int(store.hget(f"{shop.key_prefix}:{live}:meta", "customers")) == 41
    assert live_periods.certainty(shop, number) is None
    assert list_files(f"{shop.artifacts}/drafts") == {}


def test_keys_that_stay_the_same_are_copied_in_redis_and_all_hold_what_the_file_says(shop, changed, store, caplog):
    caplog.set_level(logging.INFO)
    buy(shop, "14605", TODAY)
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as reader:
        dismissed = reader.for_customer("14610").stock_codes[0]
        assert reader.dismiss("14610", dismissed)
    number = refresh(changed)
    (message,) = [each.getMessage() for each in caplog.records if "copied" in each.getMessage()]
    assert int(message.split()[1]) >= 38  # all customers but two, and perhaps products
    for (customer, name), (codes, _) in of_customers(kept(shop, number)).items():
        assert json.loads(store.hget(f"{shop.key_prefix}:p{number:06d}:customer:{customer}", name)) == codes
        assert customer != "14610" or dismissed not in codes


def test_without_a_change_nobody_is_scored_and_nothing_differs(shop, changed):
    number = refresh(changed)
    said = counts(shop, number)
    assert (said["scored"], said["taken_over"], said["difference"], said["at_most"]) == ({}, 40, 0, 0)
    assert of_customers(kept(shop, number)) == of_customers(kept(shop, 2))
    others = [kept(shop, n).query("audience != 'customer'").reset_index(drop=True) for n in (2, number)]
    pd.testing.assert_frame_equal(*others)


def test_of_a_snapshot_in_parts_one_is_in_memory_at_a_time(shop, changed, monkeypatch):
    monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", 100)
    monkeypatch.setattr(Snapshot, "parts", None)  # the whole is never read
    buy(shop, "14605", TODAY)
    number = refresh(changed)
    assert scored(shop, number) == {"14605"}
    assert counts(shop, number)["taken_over"] == 39


def test_a_sample_that_differs_too_much_lets_everybody_be_scored(shop, changed):
    """A year later, what was bought lately is others' purchases."""
    for place in range(40):
        buy(shop, f"{19000 + place}", TODAY + 90 * DAY, f"{22100 + place}", f"N{place}")
    strict = changed.model_copy(update={"refresh_max_difference": 0.0, "lists_max_age_days": 1000})
    number = refresh(strict)
    said = counts(shop, number)
    assert said["because"] == "the lists of the others might differ by more than 0.0%"
    assert said["difference"] > 0
    assert (said["since"], said["taken_over"]) == (None, 0)
    assert len(scored(shop, number)) == 80


def test_a_product_that_is_hidden_leaves_the_lists_that_showed_it_and_no_other(shop, changed):
    best = kept(shop, 2)[Lists.STOCK_CODES].iloc[0][0]
    run(shop, f"insert into retail.unlisted_product values ('{best}', 'out of stock')")
    buy(shop, "14605", TODAY)
    showed = {key for (key, _), (codes, _) in of_customers(kept(shop, 2)).items() if best in codes}
    number = refresh(changed)
    assert scored(shop, number) == showed | {"14605"}
    assert all(best not in codes for codes in kept(shop, number)[Lists.STOCK_CODES])
    run(shop, "delete from retail.unlisted_product")
    assert "a merchandiser's rules have changed" in counts(shop, refresh(changed))["because"]


def test_lists_become_old_on_the_shops_clock_and_are_made_again(shop, changed):
    buy(shop, "14605", TODAY + 3 * DAY, invoice="N1")
    buy(shop, "14607", TODAY + 3 * DAY, invoice="N2")
    first = refresh(changed)
    assert scored(shop, first) == {"14605", "14607"}
    buy(shop, "14606", TODAY + 9 * DAY, invoice="N3")
    second = refresh(changed)
    assert counts(shop, second)["scored"] == {"age": 37, "purchases": 1}
    assert counts(shop, second)["taken_over"] == 2  # whose lists are six days old
    assert len(scored(shop, second)) == 38


def test_one_customer_alone_is_too_few_to_compare(shop, changed):
    for place in range(1, 40):
        buy(shop, f"{14600 + place}", TODAY, invoice=f"N{place}")
    number = refresh(changed)
    assert counts(shop, number)["because"] == "too few customers are left whose lists could be compared"
    assert len(scored(shop, number)) == 40


def test_an_experiment_that_begins_or_ends_changes_the_lists_of_its_share(shop, changed):
    design = Design("spring", "Lists sell more.", "holdout", 0.3, "salt", starts_at=TODAY)
    experiment = experiments.start(shop, design, by="test")
    share = share_of(experiment, [f"{14600 + place}" for place in range(40)])
    buy(shop, "14605", TODAY)
    begun = refresh(changed)
    assert scored(shop, begun) == share | {"14605"}
    assert of_customers(kept(shop, begun)).keys() == of_customers(kept(shop, refresh(shop))).keys()
    experiments.end(shop, experiment.number, by="test", why="enough", stopped_at=TODAY)
    ended = refresh(changed)
    assert counts(shop, ended)["scored"] == {"experiment": len(share)}
    assert of_customers(kept(shop, ended)) == of_customers(kept(shop, refresh(shop)))


def test_another_version_or_other_settings_make_all_lists_again(shop, changed, serve):
    serve("b")
    assert counts(shop, refresh(changed))["scored"] == {}
    longer = changed.model_copy(update={"top_n": 7})
    assert "was made with other settings" in counts(shop, refresh(longer))["because"]
    prune(shop)
    assert counts(shop, 3) is None  # by a retrain, which scores everybody


def test_an_erased_customer_is_in_no_file_and_their_neighbours_keep_their_lists(shop, changed):
    buy(shop, "14605", TODAY)
    made = prepare(changed)
    assert score_shards(changed, made)
    assert erasing.search(shop, "14605")["artifacts: drafts"] == 2  # the part, and who is scored
    forget(shop, "14605", requested_by="test")
    number = publish_parts(changed, made)
    assert "14605" not in set(kept(shop, number)[Lists.KEY])
    assert {place: count for place, count in erasing.search(shop, "14605").items() if count} == {}
    assert counts(shop, number)["taken_over"] == 39


def test_those_of_one_shard_are_scored_where_it_was_seen_who_they_are(shop, changed, monkeypatch):
    buy(shop, "14605", TODAY)
    made = prepare(changed)
    assert in_drafts(shop) == ["chosen.parquet", "part-0001-of-0001.parquet"]
    first = pq.read_table(made[0].removeprefix("file://"))
    with monkeypatch.context() as later:
        later.setattr(scoring, "maker_of", None)  # nothing is made again
        assert score_shards(changed, made)
    remove_file(made[0])
    assert score_shards(changed, made)  # a part that is gone is
    assert pq.read_table(made[0].removeprefix("file://")).equals(first)
    assert scored(shop, publish_parts(changed, made)) == {"14605"}


def test_a_prepare_that_is_killed_while_it_scores_leaves_no_part_and_the_next_begins_anew(shop, changed, monkeypatch):
    buy(shop, "14605", TODAY)
    make = scoring.Scoring._lists

    def killed(self, shard):
        yield next(make(self, shard))
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(scoring.Scoring, "_lists", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(changed)
    assert in_drafts(shop) == ["chosen.parquet"]
    made = prepare(changed)
    assert score_shards(changed, made)
    assert scored(shop, publish_parts(changed, made)) == {"14605"}
    prune(shop, now=datetime.now(UTC) + 8 * DAY)
    assert in_drafts(shop) == []


def test_an_erasure_while_prepare_scores_leaves_nothing_that_names_a_customer(shop, changed, monkeypatch):
    buy(shop, "14605", TODAY)

    def erased_meanwhile(*_):
        raise ErasedMeanwhileError("A customer was erased meanwhile.")

    monkeypatch.setattr(scoring, "refuse_if_erased_since", erased_meanwhile)
    with pytest.raises(ErasedMeanwhileError):
        prepare(changed)
    assert in_drafts(shop) == []


def test_tasks_publish_what_one_process_does(shop, changed):
    buy(shop, "14605", TODAY)
    made = prepare(changed.model_copy(update={"scoring_shards": 3}))
    for part in made:
        score_shards(changed, [part])
    number = publish_parts(changed, made)
    assert scored(shop, number) == {"14605"}
    assert counts(shop, number)["taken_over"] == 39
