"""Chances and due days, from a model and a snapshot to Redis and the storefront."""

import json
from dataclasses import replace

import pytest
from both_clients import Both
from fitted_chances import MAP
from weekly_versions import TODAY

from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving.publication import room
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback


@pytest.fixture
def champion_later(shop, promoted, untrained):
    """Makes a version of a model with chances the champion."""
    return lambda: promoted(
        take_snapshot(shop, TODAY), "a", lambda frozen, _: replace(untrained(frozen, 0), chances=MAP)
    )


@pytest.fixture
def champion(champion_later):
    """The version of a model with chances."""
    return champion_later()


def hash_of(settings, store, customer):
    live = store.get(f"{settings.key_prefix}:current")
    return store.hgetall(f"{settings.key_prefix}:{live}:customer:{customer}")


def test_they_are_published_on_request_beside_the_lists_that_they_are_of(shop, champion, store):
    refresh(shop)
    before = hash_of(shop, store, 14600)
    assert not {"for_you_chances", "buy_again_due"} & set(before)
    asked = shop.model_copy(update={"chances": True, "due": True})
    refresh(asked)
    after = hash_of(shop, store, 14600)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"for_you_chances", "buy_again_due"}
    codes, chances = json.loads(after["for_you"]), json.loads(after["for_you_chances"])
    assert len(chances) == len(codes) == 20  # ten to show, ten to spare
    assert all(0 < chance < 1 for chance in chances)
    assert chances == sorted(chances, reverse=True)
    assert len(set(chances)) > 5
    due = json.loads(after["buy_again_due"])
    assert len(due) == len(json.loads(after["buy_again"])) == 20
    assert all(day is None or day >= "2011-12-09" for day in due)


def test_the_client_reads_them_if_it_is_asked_to_and_so_does_the_sample_of_the_watch(shop, champion, store):
    refresh(shop.model_copy(update={"chances": True, "due": True}))
    names = {"prefix": shop.key_prefix, "timeout": 5}
    stored = hash_of(shop, store, 14600)
    plain, whole = Both(shop.list_store(), **names), Both(shop.list_store(), chances=True, **names)
    bare = Both(shop.list_store(), chances=True, reasons=False, **names)
    try:
        page, first = whole.lists_of_customer(14600), plain.lists_of_customer(14600)
        assert page["for_you"].chances == tuple(json.loads(stored["for_you_chances"]))[:10]
        assert [each and each.isoformat() for each in page["buy_again"].due] == json.loads(stored["buy_again_due"])[:10]
        assert page["discover"] == first["discover"]
        assert {name: replace(each, chances=(), due=()) for name, each in page.items()} == first
        assert whole.for_customer(14600) == page["for_you"]
        assert whole.for_customer(14600, list_name="buy_again") == page["buy_again"]
        assert whole.for_customer(14600, list_name="discover") == first["discover"]
        assert bare.lists_of_customer(14600)["for_you"].chances == page["for_you"].chances
        assert bare.for_customer(14600).reasons == ()
        assert whole.for_customer("nobody").chances == plain.for_customer(14600).chances == ()
        assert whole.statistics.broken_chances == 0
    finally:
        for client in (plain, whole, bare):
            client.end()


DAMAGED = ["[", "7", "[0.5]", '["a"' + ',"b"' * 9 + "]", "[2" + ",0" * 9 + "]", "{}", "null"]


def test_a_list_whose_chances_are_damaged_is_still_a_list(shop, champion, store):
    refresh(shop.model_copy(update={"chances": True, "due": True}))
    live = store.get(f"{shop.key_prefix}:current")
    client = Both(shop.list_store(), prefix=shop.key_prefix, timeout=5, chances=True)
    try:
        for number, damaged in enumerate(DAMAGED, start=1):
            for field in ("for_you_chances", "buy_again_due"):
                store.hset(f"{shop.key_prefix}:{live}:customer:14600", field, damaged)
            page = client.lists_of_customer(14600)
            assert len(page["for_you"].stock_codes) == len(page["for_you"].reasons) == 10
            assert page["for_you"].chances == page["buy_again"].due == ()
            assert client.statistics.broken_chances == 2 * number
    finally:
        client.end()


def test_version_0_has_due_days_alone_and_a_rollback_brings_chances_back(shop, champion_later, store):
    asked = shop.model_copy(update={"chances": True, "due": True})
    refresh(asked)
    baselines = hash_of(shop, store, 14600)
    assert "for_you_chances" not in baselines
    assert len(json.loads(baselines["buy_again_due"])) == len(json.loads(baselines["buy_again"]))
    champion = champion_later()
    refresh(asked)
    before = hash_of(shop, store, 14600)
    assert "for_you_chances" in before
    rollback(shop, 0, actor="ops")
    assert hash_of(shop, store, 14600) == baselines
    rollback(shop, champion, actor="ops")  # whatever is asked for by now: lists come back as they were
    assert hash_of(shop, store, 14600) == before


def test_a_pinned_product_that_the_model_did_not_score_has_no_chance(shop, champion, untrained):
    frozen = read_snapshot(shop, take_snapshot(shop, TODAY))
    model = replace(untrained(frozen, 0), chances=MAP)
    rules = Rules(pins=(Pin("NEVER SOLD", "for_you", position=2),))
    maker = ListMaker(model, frozen.interactions, frozen.cutoff, rules)
    (lists,) = maker.customers(5, chosen=["14600"], with_chances=True)
    chances = [json.loads(text) if isinstance(text, str) else None for text in lists["chances"]]
    assert lists["stock_codes"].iloc[0][1] == "NEVER SOLD"
    assert chances[0][1] is None
    assert all(chance is not None for chance in chances[0][:1] + chances[0][2:])
    assert chances[1:] == [None, None]
    (plain,) = maker.customers(5, chosen=["14600"])
    assert "chances" not in plain


def test_memory_for_the_next_lists_is_counted_without_what_is_no_longer_published(shop):
    off = room.left_out(shop)
    assert off == {b"for_you_chances", b"buy_again_due"}
    both = shop.model_copy(update={"chances": True, "due": True, "reasons": False})
    of_lists = {f"{name}_reasons".encode() for name in ("for_you", "discover", "buy_again", "similar")}
    assert room.left_out(both) == of_lists
